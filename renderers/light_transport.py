"""What one camera ray brings back: the Monte Carlo estimate that Mitsuba's renderer differentiates."""

from __future__ import annotations

from typing import Any

import drjit as dr
import mitsuba as mi


def radiance(
    scene: Any, bsdf: Any, light: Any, tail: Any, sampler: Any, ray: Any, adjoint: Any = None
) -> tuple[Any, Any]:
    """Radiance that a surface sends along camera rays, and whether there is a surface.

    One bounce is direct light: one direction drawn from the environment and one from the BSDF, weighted by
    the balance heuristic. Samples are detached, so the image is differentiable in the surface's position
    (the ray included), shading normal, textures and the environment, and not in what hides what.

    Parameters
    ----------
    scene, bsdf, light: the Mitsuba scene, its only shape's SkinBSDF and its environment emitter.
    tail: a path replay integrator that adds further bounces, or None for direct light alone.
    sampler: seeded random numbers, one sequence a ray.
    ray: rays from the camera; gradients flow to their directions.
    adjoint: derivative of the loss by each ray's radiance; needed with `tail` for a differentiable result.
    """
    with dr.suspend_grad():
        hit = scene.ray_intersect_preliminary(ray, coherent=True)
    surface = hit.compute_surface_interaction(ray, mi.RayFlags.UV | mi.RayFlags.ShadingFrame)
    valid = hit.is_valid()
    context = mi.BSDFContext()

    with dr.suspend_grad():
        toward_light, _ = light.sample_direction(surface, sampler.next_2d(), valid)
        lit = valid & (toward_light.pdf > 0)
        lit &= ~scene.ray_test(surface.spawn_ray(toward_light.d), lit)
    value, pdf = bsdf.eval_pdf(context, surface, surface.to_local(toward_light.d), lit)
    weight = dr.select(lit, dr.rcp(toward_light.pdf + pdf), 0)
    total = dr.select(lit, value * environment_along(light, toward_light.d, lit) * dr.detach(weight), 0)

    with dr.suspend_grad():
        wo = bsdf.sample_direction(surface, sampler.next_1d(), sampler.next_2d(), valid)
        direction = surface.to_world(wo)
        outgoing = surface.spawn_ray(direction)
        free = valid & ~scene.ray_test(outgoing, valid)
        record = dr.zeros(mi.DirectionSample3f)
        record.d = direction
        light_pdf = light.pdf_direction(surface, record, free)
    value, pdf = bsdf.eval_pdf(context, surface, surface.to_local(dr.detach(direction)), valid)
    drawn = pdf > 0
    weight = dr.select(drawn & free, dr.rcp(light_pdf + pdf), 0)
    total += dr.select(
        drawn & free, value * environment_along(light, direction, free) * dr.detach(weight), 0
    )
    if tail is not None:
        total += indirect(scene, tail, sampler, outgoing, drawn & ~free, value / pdf, adjoint)
    return total, valid


def environment_along(light: Any, direction: Any, active: Any) -> Any:
    """Radiance of the environment that arrives from detached world-space directions."""
    nothing = dr.zeros(mi.SurfaceInteraction3f)
    nothing.wi = -dr.detach(direction)
    return light.eval(nothing, active)


def indirect(
    scene: Any, tail: Any, sampler: Any, ray: Any, active: Any, throughput: Any, adjoint: Any
) -> Any:
    """Radiance that comes over further bounces along `ray`, times `throughput`.

    Path replay (Vicini et al. 2021): the path is drawn once to know its radiance, then, where gradients are
    wanted, drawn again with the same numbers to send them to the scene's parameters as it goes. The returned
    value carries the gradient of `throughput` only.
    """
    with dr.suspend_grad():
        ray = dr.detach(ray)
        replayed = sampler.clone() if adjoint is not None else None
        arriving, _, _, state = tail.sample(
            mode=dr.ADMode.Primal, scene=scene, sampler=sampler, ray=ray, δL=None, state_in=None, active=active
        )
        if replayed is not None:
            tail.sample(
                mode=dr.ADMode.Backward,
                scene=scene,
                sampler=replayed,
                ray=ray,
                δL=adjoint * dr.select(active, dr.detach(throughput), 0),
                state_in=state,
                active=active,
            )
    return dr.select(active, throughput * dr.detach(arriving), 0)
