"""Gradients of moving silhouettes and shadow edges, by sampling mesh edges.

Where a surface ends in the picture, and where its shadow ends, radiance jumps. Differentiating samples of the
radiance misses that the jump moves: for every pixel, that is the integral over the jump's curve of the step
across it times its normal velocity (Li, Aittala, Durand and Lehtinen, "Differentiable Monte Carlo Ray Tracing
through Edge Sampling", 2018, equation 4). Here points are drawn on the mesh edges that make those curves, a
`Tracer` measures the step, and torch differentiates where the point lies in the picture: by mesh and camera.

Outlines are edges between a face that is seen from the front and one from the back, and edges of one face only.
Both sides of a point are looked at, so an edge behind something has no step, and a nose before a cheek has one.

Shadow edges are taken light direction by light direction: directions are drawn from the environment, and for
each, as for a light at infinity, edges between a lit and an unlit face cast the curve. (For all directions at
once, this is the emitter-edge term of Zhang, Miller, Yan, Gkioulekas and Zhao, "Path-Space Differentiable
Rendering", 2020.) Light that has bounced before it is shadowed is left out.

Everything is in the camera frame (x right, y down, z forward; mm) and in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

Array = NDArray[np.float32]

NEAREST_MM = 1.0  # edges that come closer to the camera's plane than this are left out
BESIDE_PIXELS = 0.01  # how far from an outline its two sides are looked at: far above rounding, far below a pixel
POINTS_PER_PIXEL = 2.0  # of the image's width and height, for each light path a pixel
POINTS_PER_DIRECTION = 256  # shadow edge points of one light direction
EDGES_AT_ONCE = 1 << 22  # edge-direction pairs handled in one pass: bounds memory at about 200 MB


@dataclass(frozen=True)
class ShadowSteps:
    """What lines along a light's direction meet below the edges that they pass: [N] each."""

    step: Array  # [N, 3] reflection f cos at the surface met; 0 where nothing is seen to change there
    lit_side: Array  # [N] +1 where the line moved along `beside` is free, -1 where the one moved against it is
    triangle: NDArray[np.int64]  # [N] the triangle that is met, any where the step is 0


class Tracer(Protocol):
    """What boundary gradients ask of a ray tracer."""

    def look(self, points: Array, seed: int) -> Array:
        """One light path each: radiance and coverage [N, 4] at image points [2, N / 2, 2] in pixels.

        The two points of a pair have the same random numbers.
        """
        ...

    def draw_light(self, count: int, seed: int) -> tuple[Array, Array]:
        """Directions [count, 3] to the environment, and radiance over density [count, 3] from there."""
        ...

    def step_below(self, points: Array, beside: Array, directions: Array) -> ShadowSteps:
        """How the light of directions [N, 3] changes below points [N, 3], across from + to - beside [N, 3]."""
        ...


@dataclass(frozen=True)
class Edges:
    """The edges of a mesh. An edge is said by a face and the corner of it where the edge starts."""

    triangles: Tensor  # [F, 3] int64, rows of the positions
    face: Tensor  # [E] int64
    corner: Tensor  # [E] int64, 0 to 2
    other_face: Tensor  # [E] int64, the face beyond the edge; the same face where there is none
    other_corner: Tensor  # [E] int64, the corner of the other face that is not on the edge

    @classmethod
    def of(cls, triangles: Tensor, rows: Tensor) -> Edges:
        """The edges of triangles [F, 3] of vertex numbers, whose positions are in `rows` [F, 3] of an array.

        An edge of more than two faces counts as an end of each of them.
        """
        following = triangles.roll(-1, 1)
        low, high = torch.minimum(triangles, following), torch.maximum(triangles, following)
        code = (low * (int(triangles.max()) + 1) + high).flatten()
        order = code.argsort(stable=True)
        _, count = code[order].unique_consecutive(return_counts=True)
        first = count.cumsum(0) - count
        paired = first[count == 2]
        alone = torch.ones_like(code, dtype=torch.bool)
        alone[order[paired]] = alone[order[paired + 1]] = False
        here = torch.cat([order[paired], alone.nonzero()[:, 0]])
        beyond = torch.cat([order[paired + 1], alone.nonzero()[:, 0]])
        face, corner = torch.div(here, 3, rounding_mode="floor"), here % 3
        return cls(rows, face, corner, torch.div(beyond, 3, rounding_mode="floor"), (beyond + 2) % 3)

    def ends(self, positions: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """Where edges [N] start and end, [N, 3] each, given all positions [P, 3]."""
        face, corner = self.triangles[self.face[edge]], self.corner[edge][:, None]
        start, end = face.gather(1, corner), face.gather(1, (corner + 1) % 3)
        return positions.index_select(0, start[:, 0]), positions.index_select(0, end[:, 0])

    def normals(self, positions: Tensor) -> Tensor:
        """Outward face normals [F, 3], as long as twice the faces' areas."""
        a, b, c = positions[self.triangles].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    def outward(self, positions: Tensor, normals: Tensor) -> Tensor:
        """[E] bool: whether the surface bends away at the edge, or ends there. Valleys hide nothing."""
        apex = self.triangles[self.other_face, self.other_corner]
        start = self.triangles[self.face, self.corner]
        rise = ((positions[apex] - positions[start]) * normals[self.face]).sum(1)
        return (rise < 0) | (self.face == self.other_face)


@dataclass(frozen=True)
class Picture:
    """What the loss says about the picture."""

    adjoint: Tensor  # [H, W, 4] derivative of the loss by radiance and coverage

    def at(self, points: Tensor) -> Tensor:
        """The adjoint [N, 4] of the pixels in which points [N, 2] lie; 0 outside the picture."""
        height, width = self.adjoint.shape[:2]
        column, row = points.floor().unbind(-1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = torch.where(inside, row * width + column, 0).long()
        return self.adjoint.flatten(0, 1).index_select(0, index) * inside[:, None]


def boundary_gradients(
    tracer: Tracer, edges: Edges, positions: Tensor, rays: Tensor, adjoint: Tensor, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Gradients by `positions` and `rays` of a loss, as far as outlines and shadow edges move.

    Added to the derivative of the radiance at fixed points of the picture, they make the whole gradient.

    Parameters
    ----------
    positions: [P, 3] mm.
    rays: [2, 3], the upper rows of the inverse camera matrix.
    adjoint: [H, W, 4], the derivative of the loss by the image.
    samples: light paths a pixel of the image; points on edges follow it, `POINTS_PER_PIXEL`.
    """
    positions = positions.detach().to("cpu", torch.float64).requires_grad_()
    rays = rays.detach().to("cpu", torch.float64).requires_grad_()
    picture = Picture(adjoint.detach().to("cpu", torch.float64))
    count = round(POINTS_PER_PIXEL * samples * sum(adjoint.shape[:2]))
    with torch.enable_grad():
        intrinsics = torch.linalg.inv(torch.cat([rays, rays.new_tensor([[0, 0, 1]])]))
        moved = _outlines(tracer, edges, positions, intrinsics, picture, count, seed)
        if picture.adjoint[..., :3].any():
            moved = moved + _shadow_edges(tracer, edges, positions, intrinsics, picture, count, seed)
        gradients = torch.autograd.grad(moved, (positions, rays))
    return gradients[0], gradients[1]


def _outlines(
    tracer: Tracer,
    edges: Edges,
    positions: Tensor,
    intrinsics: Tensor,
    picture: Picture,
    count: int,
    seed: int,
) -> Tensor:
    """A number whose gradient is that of the loss through the motion of outlines."""
    height, width = picture.adjoint.shape[:2]
    with torch.no_grad():
        normals = edges.normals(positions)
        front = (normals * positions[edges.triangles[:, 0]]).sum(1) < 0
        drawn = edges.outward(positions, normals) & (front[edges.face] != front[edges.other_face])
        drawn |= edges.face == edges.other_face
        chosen = drawn.nonzero()[:, 0]
        start, end = edges.ends(positions, chosen)
        ahead = (start[:, 2] > NEAREST_MM) & (end[:, 2] > NEAREST_MM)
        chosen, start, end = chosen[ahead], start[ahead], end[ahead]
        ends = torch.stack([_project(start, intrinsics), _project(end, intrinsics)])
        size = torch.tensor([width, height])
        seen = ((ends.amax(0) > 0) & (ends.amin(0) < size)).all(1)
        length = (ends[0] - ends[1]).norm(dim=1) * seen
        number, along, share = _draw(length, count, seed)
        if not len(number):
            return positions.sum() * 0 + intrinsics.sum() * 0
        edge = chosen[number]

    start, end = edges.ends(positions, edge)
    offset = along[:, None] * (end - start)
    point = _project(start + offset, intrinsics)
    with torch.no_grad():
        # the normal, as long as the outline that the edge makes while `along` goes from 0 to 1
        normal = _quarter_turn(_image_motion(start + offset, end - start, intrinsics))
        step_aside = BESIDE_PIXELS * normalize(normal, dim=1)
        sides = torch.stack([point - step_aside, point + step_aside])
        looked = torch.from_numpy(tracer.look(sides.float().numpy(), seed)).double()
        behind, before = looked.view(2, -1, 4)
        weight = ((behind - before) * picture.at(point)).sum(1) / share
    return (weight * (normal * point).sum(1)).sum()


def _shadow_edges(
    tracer: Tracer,
    edges: Edges,
    positions: Tensor,
    intrinsics: Tensor,
    picture: Picture,
    count: int,
    seed: int,
) -> Tensor:
    """A number whose gradient is that of the loss through the motion of shadow edges."""
    total = positions.sum() * 0 + intrinsics.sum() * 0
    directions, radiance = tracer.draw_light(max(count // POINTS_PER_DIRECTION, 16), seed)
    light = torch.from_numpy(directions).double()
    power = torch.from_numpy(radiance).double() / len(light)
    with torch.no_grad():
        normals = edges.normals(positions)
        outward = edges.outward(positions, normals)
        everything = torch.arange(len(edges.face))
        beside_length = 2e-5 * positions.norm(dim=1).amax()
    for part in _parts(len(light), len(everything)):
        with torch.no_grad():
            lit = normals @ light[part].T > 0
            casts = (lit[edges.face] != lit[edges.other_face]) & outward[:, None]
            casts |= (edges.face == edges.other_face)[:, None]
            chosen, toward = casts.nonzero().unbind(1)
            toward = toward + part.start
            start, end = edges.ends(positions, chosen)
            length = torch.linalg.cross(end - start, light[toward]).norm(dim=1) * power[toward].sum(1)
            wanted = count * (part.stop - part.start) // len(light)
            number, along, share = _draw(length, wanted, seed + part.start)
            if not len(number):
                continue
            edge, toward = chosen[number], toward[number]
            start, end = edges.ends(positions, edge)
            point, way = start + along[:, None] * (end - start), light[toward]
            beside = beside_length * normalize(torch.linalg.cross(end - start, way), dim=1)
            found = tracer.step_below(point.float().numpy(), beside.float().numpy(), way.float().numpy())
            step = torch.from_numpy(found.step).double()
            kept = step.any(1).nonzero()[:, 0]
            triangle = edges.triangles[torch.from_numpy(found.triangle)[kept]]
            toward_light = beside * torch.from_numpy(found.lit_side).double()[:, None]
            edge, along, share, way, step, toward, toward_light = (
                values[kept] for values in (edge, along, share, way, step, toward, toward_light)
            )

        start, end = edges.ends(positions, edge)
        offset = along[:, None] * (end - start)
        corner, second, third = (positions.index_select(0, triangle[:, k]) for k in range(3))
        plane = torch.linalg.cross(second - corner, third - corner)
        depth = ((start + offset - corner) * plane).sum(1) / (way * plane).sum(1)
        met = start + offset - depth[:, None] * way
        point = _project(met, intrinsics)
        with torch.no_grad():

            def cast(motion: Tensor, way: Tensor = way, plane: Tensor = plane, met: Tensor = met) -> Tensor:
                """How the shadow's edge moves in the picture when the point that casts it does."""
                fall = (motion * plane).sum(1) / (way * plane).sum(1)
                return _image_motion(met, motion - fall[:, None] * way, intrinsics)

            normal = _quarter_turn(cast(end - start))
            normal = normal * (normal * cast(toward_light)).sum(1, keepdim=True).sign()  # to the lit side
            weight = -(step * power[toward] * picture.at(point)[:, :3]).sum(1) / share
        total = total + (weight * (normal * point).sum(1)).sum()
    return total


def _parts(directions: int, edges: int) -> Iterator[slice]:
    size = max(1, EDGES_AT_ONCE // max(edges, 1))
    for start in range(0, directions, size):
        yield slice(start, min(start + size, directions))


def _draw(weight: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """About `count` points on items that are drawn by weight [M] and then evenly, spread along all of them.

    Returns
    -------
    item [N] int64, place on it [N] in [0, 1], and N times the probability density of that; empty without weight.
    """
    ends = weight.cumsum(0)
    if not len(ends) or not ends[-1] > 0:
        empty = weight.new_zeros(0)
        return empty.long(), empty, empty
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, dtype=torch.float64, generator=generator)
    place = (torch.arange(count) + numbers) / count * ends[-1]
    item = torch.searchsorted(ends, place, right=True).clamp(max=len(ends) - 1)
    along = ((place - ends[item]) / weight[item] + 1).clamp(0, 1)
    return item, along, count * weight[item] / ends[-1]


def _project(points: Tensor, intrinsics: Tensor) -> Tensor:
    image = points @ intrinsics.T
    return image[:, :2] / image[:, 2:]


def _image_motion(points: Tensor, motion: Tensor, intrinsics: Tensor) -> Tensor:
    """How the pictures [N, 2] of points [N, 3] move when the points move by `motion` [N, 3]."""
    image, shift = points @ intrinsics.T, motion @ intrinsics.T
    return (shift[:, :2] - image[:, :2] / image[:, 2:] * shift[:, 2:]) / image[:, 2:]


def _quarter_turn(vectors: Tensor) -> Tensor:
    return torch.stack([vectors[:, 1], -vectors[:, 0]], 1)
