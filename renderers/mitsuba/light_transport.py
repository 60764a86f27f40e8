"""What one camera ray brings back: the Monte Carlo estimates that Mitsuba's renderer differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drjit as dr
import mitsuba as mi

from renderers.mitsuba.environment_light import EnvironmentLight

GRAZING = 1e-3  # cosine
SAME_SURFACE = 1e-4  # relative distance within which two rays met the same point of a surface


class Surroundings:
    """What rays travel through. (Not a dataclass: Dr.Jit would take its fields for loop variables below.)

    Parameters
    ----------
    scene, bsdf, light: the Mitsuba scene of one shape, the shape's SkinBSDF and the EnvironmentLight.
    """

    def __init__(self, scene: Any, bsdf: Any, light: EnvironmentLight) -> None:
        self.scene = scene
        self.bsdf = bsdf
        self.light = light


@dataclass(frozen=True)
class Continuation:
    """Rays that leave a surface and meet another."""

    ray: Any  # detached
    active: Any
    throughput: Any  # f cos / density at the surface they leave; carries gradients


def direct_radiance(
    around: Surroundings, ray: Any, numbers: Any, active: Any = True, at_outline: bool = False
) -> tuple[Any, Any, Continuation]:
    """Environment light that a surface reflects along rays, whether there is a surface, and what goes on.

    One direction is drawn from the environment and one from the BSDF; the balance heuristic (Veach 1997)
    weighs them. Samples are detached: the result is differentiable in the surface's position along the ray, the
    ray itself, shading normals, textures and the environment, and not in what hides what.

    Parameters
    ----------
    ray: rays towards the surface; gradients flow to their directions.
    numbers: random numbers, as `next_1d()` and `next_2d()`.
    at_outline: whether rays pass just inside an outline. There interpolated normals turn away from the viewer,
        and the GGX lobe falls to 0. That step moves with the outline and is counted there: see the lobe before.
    """
    with dr.suspend_grad():
        hit = around.scene.ray_intersect_preliminary(ray, coherent=False, active=active)
    surface = hit.compute_surface_interaction(ray, mi.RayFlags.UV | mi.RayFlags.ShadingFrame)
    valid = hit.is_valid()
    front = valid & (dr.dot(dr.detach(surface.n), dr.detach(ray.d)) < 0)
    reflectance = around.bsdf.reflectance(surface, front)
    wi = _lifted(surface.wi) if at_outline else surface.wi

    for_bsdf, for_light = (numbers.next_2d(), numbers.next_2d())
    direction, arriving, light_pdf = around.light.draw(numbers.next_1d(), for_light, front)
    value, bsdf_pdf = around.bsdf.value_pdf(reflectance, wi, surface.to_local(direction))
    with dr.suspend_grad():
        free = front & (bsdf_pdf > 0) & (light_pdf > 0)
        free &= ~around.scene.ray_test(dr.detach(surface).spawn_ray(direction), free)
        weight = dr.select(free, dr.rcp(light_pdf + bsdf_pdf), 0)
    total = value * arriving * weight

    wo = around.bsdf.direction(reflectance, wi, numbers.next_1d(), for_bsdf)
    with dr.suspend_grad():
        direction = dr.detach(surface).to_world(wo)
        outgoing = dr.detach(surface).spawn_ray(direction)
    value, bsdf_pdf = around.bsdf.value_pdf(reflectance, wi, surface.to_local(direction))
    with dr.suspend_grad():
        drawn = front & (bsdf_pdf > 0)
        free = drawn & ~around.scene.ray_test(outgoing, drawn)
    arriving, light_pdf = around.light.look_up(direction, free)
    with dr.suspend_grad():
        weight = dr.select(free, dr.rcp(light_pdf + bsdf_pdf), 0)
    total += value * arriving * weight
    throughput = value * dr.select(drawn, dr.rcp(bsdf_pdf), 0)
    return total, valid, Continuation(outgoing, drawn & ~free, throughput)


def _lifted(wi: Any) -> Any:
    """Local directions that look at the front of the surface at least a little."""
    return dr.normalize(mi.Vector3f(wi.x, wi.y, dr.select(wi.z > GRAZING, wi.z, GRAZING)))


def shadow_steps(around: Surroundings, points: Any, beside: Any, direction: Any) -> tuple[Any, Any, Any, Any]:
    """What changes where light that passes points on edges falls on a surface, detached.

    The line through a point is moved by `beside` to one side and to the other. Where one of them is free up to
    the light and the other is not, light changes at the edge itself, and where the free line goes on down to.

    Returns
    -------
    f cos towards the camera of the surface at the point, and of that below; 0 where there is no such change or
    the camera does not see it; +1 where the line moved by +beside is free, else -1; the triangle below.
    """
    # from a little below, because a surface that ends at the edge goes through one of the lines' points
    start = points - dr.norm(beside) * direction
    one_free, other_free = (
        ~around.scene.ray_test(mi.Ray3f(start + side * beside, direction)) for side in (1.0, -1.0)
    )
    changes = one_free ^ other_free
    lit_side = dr.select(one_free, mi.Float(1), -1)
    down = mi.Ray3f(points + lit_side * beside, -direction)
    below = around.scene.ray_intersect_preliminary(down, coherent=False, active=changes)
    beneath = changes & below.is_valid()
    met = down(dr.select(beneath, below.t, 1))
    at_edge, _ = _towards_camera(around, points, direction, changes)
    value, triangle = _towards_camera(around, met, direction, beneath)
    return at_edge, dr.select(triangle == below.prim_index, value, 0), lit_side, below.prim_index


def _towards_camera(around: Surroundings, points: Any, direction: Any, active: Any) -> tuple[Any, Any]:
    """f cos of light from a direction at surface points, 0 where the camera does not see them; the triangle."""
    view = mi.Ray3f(mi.Point3f(0), dr.normalize(mi.Vector3f(points)))
    seen = around.scene.ray_intersect_preliminary(view, coherent=False, active=active)
    surface = seen.compute_surface_interaction(view, mi.RayFlags.UV | mi.RayFlags.ShadingFrame, active)
    distance = dr.norm(points)
    active &= seen.is_valid() & (dr.abs(seen.t - distance) < SAME_SURFACE * distance)
    active &= dr.dot(surface.n, view.d) < 0
    reflectance = around.bsdf.reflectance(surface, active)
    value, _ = around.bsdf.value_pdf(reflectance, surface.wi, surface.to_local(direction))
    return dr.select(active, value, 0), seen.prim_index


def indirect_radiance(
    around: Surroundings, onward: Continuation, sampler: Any, bounces: int, adjoint: Any = None
) -> Any:
    """Radiance that reaches the camera over up to `bounces` further bounces.

    Path replay (Vicini et al. 2021): paths are drawn once to know their radiance, then, where gradients are
    wanted, drawn again with the same numbers to send them to the scene's parameters on the way. The returned
    value carries the gradient of `onward.throughput` alone. A surface's gradients leave out that it moves the
    rays that start there.

    Parameters
    ----------
    onward: what `direct_radiance` returned.
    sampler: one of Mitsuba's, seeded, with one sequence a ray.
    adjoint: derivative of the loss by each ray's radiance; None where no gradients are wanted.
    """
    with dr.suspend_grad():
        replayed = sampler.clone() if adjoint is not None else None
        arriving = _follow(around, onward.ray, onward.active, sampler, bounces)
        if replayed is not None:
            adjoint = adjoint * dr.detach(onward.throughput)
            _follow(around, onward.ray, onward.active, replayed, bounces, arriving, adjoint)
    return onward.throughput * arriving


@dr.syntax
def _follow(around, ray, active, sampler, bounces, known=None, adjoint=None):  # type: ignore[no-untyped-def]
    """Radiance along rays; where it is `known`, send its gradients to the scene's parameters instead."""
    ray = mi.Ray3f(ray)
    active = mi.Bool(active)
    depth = mi.UInt32(0)
    throughput = mi.Color3f(1)
    radiance = mi.Color3f(0)
    rest = mi.Color3f(0 if known is None else known)
    while dr.hint(active, max_iterations=bounces, label="further bounces"):
        with dr.resume_grad(when=known is not None):
            direct, _, onward = direct_radiance(around, ray, sampler, active)
            contribution = throughput * dr.select(active, direct, 0)
            if dr.hint(known is not None, mode="scalar"):
                rest -= dr.detach(contribution)
                # what comes from further on scales with this surface's throughput
                scale = dr.select(onward.active, onward.throughput / dr.detach(onward.throughput), 0)
                scale = dr.select(dr.detach(onward.throughput) > 0, scale, 0)
                dr.backward_from(adjoint * (contribution + dr.detach(rest) * scale))
        radiance += dr.detach(contribution)
        throughput *= dr.detach(onward.throughput)
        ray = onward.ray
        depth += 1
        active = onward.active & (depth < bounces)
    return radiance
