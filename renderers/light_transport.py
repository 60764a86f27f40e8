"""What one camera ray brings back: the Monte Carlo estimate that Mitsuba's renderer differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drjit as dr
import mitsuba as mi


@dataclass(frozen=True)
class Continuation:
    """Rays that leave the first surface and meet another."""

    ray: Any
    active: Any
    throughput: Any  # of the first bounce; carries gradients


def direct_radiance(scene: Any, bsdf: Any, light: Any, ray: Any, numbers: Any) -> tuple[Any, Any, Continuation]:
    """Environment light that a surface reflects along camera rays, whether there is a surface, and what goes on.

    One direction is drawn from the environment and one from the BSDF; the balance heuristic weighs them. Samples
    are detached: the image is differentiable in the surface's position (the ray included), shading normal, textures
    and the environment, and not in what hides what.

    Parameters
    ----------
    scene, bsdf, light: the Mitsuba scene, its only shape's SkinBSDF and its EnvironmentLight.
    ray: rays from the camera; gradients flow to their directions.
    numbers: random numbers, as `next_1d()` and `next_2d()`.
    """
    with dr.suspend_grad():
        hit = scene.ray_intersect_preliminary(ray, coherent=True)
    surface = hit.compute_surface_interaction(ray, mi.RayFlags.UV | mi.RayFlags.ShadingFrame)
    valid = hit.is_valid()
    front = valid & (dr.dot(dr.detach(surface.n), ray.d) < 0)
    reflectance = bsdf.reflectance(surface, front)

    direction, arriving, light_pdf = light.draw(numbers.next_1d(), numbers.next_2d(), front)
    value, bsdf_pdf = bsdf.value_pdf(reflectance, surface.wi, surface.to_local(direction))
    with dr.suspend_grad():
        free = front & (bsdf_pdf > 0) & (light_pdf > 0)
        free &= ~scene.ray_test(dr.detach(surface).spawn_ray(direction), free)
        weight = dr.select(free, dr.rcp(light_pdf + bsdf_pdf), 0)
    total = value * arriving * weight

    wo = bsdf.direction(reflectance, surface.wi, numbers.next_1d(), numbers.next_2d())
    with dr.suspend_grad():
        direction = surface.to_world(wo)
        outgoing = dr.detach(surface).spawn_ray(direction)
    value, bsdf_pdf = bsdf.value_pdf(reflectance, surface.wi, surface.to_local(direction))
    with dr.suspend_grad():
        drawn = front & (bsdf_pdf > 0)
        free = drawn & ~scene.ray_test(outgoing, drawn)
    arriving, light_pdf = light.look_up(direction, free)
    with dr.suspend_grad():
        weight = dr.select(free, dr.rcp(light_pdf + bsdf_pdf), 0)
    total += value * arriving * weight
    throughput = value * dr.select(drawn, dr.rcp(bsdf_pdf), 0)
    return total, valid, Continuation(outgoing, drawn & ~free, throughput)


def indirect_radiance(scene: Any, tail: Any, sampler: Any, onward: Continuation, adjoint: Any = None) -> Any:
    """Radiance that reaches the camera over further bounces.

    Path replay (Vicini et al. 2021): the path is drawn once to know its radiance, then, where gradients are
    wanted, drawn again with the same numbers to send them to the scene's parameters as it goes. The returned
    value carries the gradient of the first bounce only.

    Parameters
    ----------
    tail: a path replay integrator that hides the environment from the rays it is given.
    sampler: random numbers of Mitsuba's, one sequence a ray.
    onward: what `direct_radiance` returned.
    adjoint: derivative of the loss by each ray's radiance; None where no gradients are wanted.
    """
    ray, active = onward.ray, onward.active
    with dr.suspend_grad():
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
                δL=adjoint * dr.select(active, dr.detach(onward.throughput), 0),
                state_in=state,
                active=active,
            )
    return dr.select(active, onward.throughput * dr.detach(arriving), 0)
