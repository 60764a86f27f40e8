"""Gradients of a loss as far as outlines and shadow edges move. See `renderers.mitsuba.edges.boundaries`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from renderers.mitsuba.edges.boundaries import Picture, Tracer
from renderers.mitsuba.edges.mesh_edges import Edges, draw_places
from renderers.mitsuba.edges.shadow_edges import moving_shadows

NEAREST_MM = 1.0  # edges that come closer to the camera's plane than this are left out
BESIDE = 1e-6  # radians off an outline where its sides are looked at: outlines of a fine mesh lie 1e-5 apart
POINTS_PER_PIXEL = 2.0  # of the image's width and height, for each light path a pixel


def boundary_gradients(
    tracer: Tracer, edges: Edges, positions: Tensor, rays: Tensor, adjoint: Tensor, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Gradients by `positions` and `rays`. With those of the radiance at fixed points, they are the whole.

    Parameters
    ----------
    positions: [P, 3] mm.
    rays: [2, 3], the upper rows of the inverse camera matrix.
    adjoint: [H, W, 4], the derivative of the loss by the image.
    samples: light paths a pixel of the image; the number of points on edges follows it.
    """
    positions = positions.detach().to("cpu", torch.float64).requires_grad_()
    rays = rays.detach().to("cpu", torch.float64).requires_grad_()
    count = round(POINTS_PER_PIXEL * samples * sum(adjoint.shape[:2]))
    with torch.enable_grad():
        intrinsics = torch.linalg.inv(torch.cat([rays, rays.new_tensor([[0, 0, 1]])]))
        picture = Picture(intrinsics, adjoint.detach().to("cpu", torch.float64))
        moved = 0 * (positions.sum() + rays.sum()) + moving_outlines(
            tracer, edges, positions, picture, count, seed
        )
        if picture.adjoint[..., :3].any():
            moved = moved + moving_shadows(tracer, edges, positions, picture, count, seed)
        by_positions, by_rays = torch.autograd.grad(moved, (positions, rays))
    return by_positions, by_rays


def moving_outlines(
    tracer: Tracer, edges: Edges, positions: Tensor, picture: Picture, count: int, seed: int
) -> Tensor:
    """A number whose gradient is that of the loss through the motion of outlines.

    They are edges between a face that is seen from the front and one from the back, and ends of the surface.
    Both sides of a point are looked at: an edge behind something has no step, a nose before a cheek has one.
    """
    height, width = picture.adjoint.shape[:2]
    with torch.no_grad():
        normals = edges.normals(positions)
        front = (normals * positions[edges.triangles[:, 0]]).sum(1) < 0
        turning = (front[edges.face] != front[edges.other_face]) & edges.ridges(positions, normals)
        chosen = (turning | edges.open).nonzero()[:, 0]
        start, end = edges.ends(positions, chosen)
        ahead = (start[:, 2] > NEAREST_MM) & (end[:, 2] > NEAREST_MM)
        chosen, start, end = chosen[ahead], start[ahead], end[ahead]
        ends = torch.stack([picture.project(start), picture.project(end)])
        inside = ((ends.amax(0) > 0) & (ends.amin(0) < torch.tensor([width, height]))).all(1)
        places = draw_places((ends[0] - ends[1]).norm(dim=1) * inside, count, seed)

    start, end = edges.ends(positions, chosen[places.item])
    place = start + places.along[:, None] * (end - start)
    point = picture.project(place)
    with torch.no_grad():
        normal = picture.normal(place, end - start)
        aside = BESIDE * picture.intrinsics[:2, :2].det().abs().sqrt() * normalize(normal, dim=1)
        looked = tracer.look(torch.stack([point - aside, point + aside]).float().numpy(), seed)
        behind, before = torch.from_numpy(looked).double().view(2, -1, 4)
        weight = ((behind - before) * picture.adjoint_at(point)).sum(1) / places.density
    return (weight * (normal * point).sum(1)).sum()
