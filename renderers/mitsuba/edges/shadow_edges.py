"""The motion of shadow edges in the picture. See `renderers.mitsuba.edges.boundaries`.

Directions are drawn from the environment. For each of them, as for a light at infinity, edges between a lit and
an unlit face, and ends of the surface, are where shadows begin (on the surface at the edge itself) and what
casts them (on the surface below). Over all directions this is the emitter-edge term of Zhang, Miller, Yan,
Gkioulekas and Zhao, "Path-Space Differentiable Rendering", 2020. Light that bounced before it is shadowed is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from renderers.mitsuba.edges.boundaries import Picture, Tracer
from renderers.mitsuba.edges.mesh_edges import Edges, draw_places

POINTS_PER_DIRECTION = 256
LEAST_DIRECTIONS = 16
PAIRS_AT_ONCE = 1 << 22  # edges and directions handled in one pass: bounds memory at about 200 MB
BESIDE = 2e-5  # of the distance to the camera: how far from an edge light is looked for on either side


@dataclass(frozen=True)
class _Lines:
    """Lines past points on edges, along light directions."""

    edge: Tensor  # [N] int64
    along: Tensor  # [N] in [0, 1], the point's place on its edge
    way: Tensor  # [N, 3] to the light
    power: Tensor  # [N, 3] of the light, over the density of lines

    def at(self, index: Tensor) -> _Lines:
        return _Lines(self.edge[index], self.along[index], self.way[index], self.power[index])


def moving_shadows(
    tracer: Tracer, edges: Edges, positions: Tensor, picture: Picture, count: int, seed: int
) -> Tensor:
    """A number whose gradient is that of the loss through the motion of shadow edges.

    Parameters
    ----------
    count: lines altogether.
    """
    found, power = tracer.draw_light(max(count // POINTS_PER_DIRECTION, LEAST_DIRECTIONS), seed)
    ways, powers = torch.from_numpy(found).double(), torch.from_numpy(power).double() / len(found)
    with torch.no_grad():
        normals = edges.normals(positions)
        front = (normals * positions[edges.triangles[:, 0]]).sum(1) < 0
        both_seen = front[edges.face] & front[edges.other_face] & ~edges.open
        ridges = edges.ridges(positions, normals).nonzero()[:, 0]
        beside_length = BESIDE * positions.norm(dim=1).amax()
    total = positions.new_zeros(())
    for part in _parts(len(ways), len(edges.face)):
        share = count * (part.stop - part.start) // len(ways)
        with torch.no_grad():
            passing = _passing_light(edges, positions, normals, ridges, ways[part], powers[part])
            lines = _draw_lines(passing, share, seed + part.start)
            if not len(lines.edge):
                continue
            start, end = edges.ends(positions, lines.edge)
            beside = beside_length * _beside(edges, positions, lines)
            place = start + lines.along[:, None] * (end - start)
            steps = tracer.shadow_steps(*(values.float().numpy() for values in (place, beside, lines.way)))
            lit_side = beside * torch.from_numpy(steps.lit_side).double()[:, None]
            at_edge, below = (torch.from_numpy(step).double() for step in (steps.at_edge, steps.below))
            attached = at_edge.any(1) & both_seen[lines.edge]
            cast = below.any(1)
        total = total + _attached(edges, positions, normals, picture, lines.at(attached), at_edge[attached])
        triangle = edges.triangles[torch.from_numpy(steps.triangle)[cast]]
        total = total + _cast(edges, positions, picture, lines.at(cast), below[cast], triangle, lit_side[cast])
    return total


def _parts(directions: int, edges: int) -> Iterator[slice]:
    """Directions of each pass: as many for any shape of a mesh, because other sizes mean other kernels."""
    size = max(1, PAIRS_AT_ONCE // max(edges, 1))
    for start in range(0, directions, size):
        yield slice(start, min(start + size, directions))


@dataclass(frozen=True)
class _Passing:
    """Light that goes past edges: [M] pairs of an edge and a direction."""

    edge: Tensor  # [M] int64
    way: Tensor  # [M, 3]
    power: Tensor  # [M, 3]
    amount: Tensor  # [M] power times the edge's length as seen from there


def _passing_light(
    edges: Edges, positions: Tensor, normals: Tensor, ridges: Tensor, ways: Tensor, powers: Tensor
) -> _Passing:
    lit = normals @ ways.T > 0
    turning = (lit[edges.face[ridges]] != lit[edges.other_face[ridges]]) | edges.open[ridges, None]
    number, direction = turning.nonzero().unbind(1)
    edge, way, power = ridges[number], ways[direction], powers[direction]
    start, end = edges.ends(positions, edge)
    return _Passing(edge, way, power, torch.linalg.cross(end - start, way).norm(dim=1) * power.sum(1))


def _draw_lines(passing: _Passing, count: int, seed: int) -> _Lines:
    places = draw_places(passing.amount, count, seed)
    power = passing.power[places.item] / places.density[:, None]
    return _Lines(passing.edge[places.item], places.along, passing.way[places.item], power)


def _beside(edges: Edges, positions: Tensor, lines: _Lines) -> Tensor:
    """Unit vectors [N, 3] from edges to their sides: across the light, but in the surface where it ends.

    Where light grazes a surface that ends, a line beside it across the light would meet it far away or never.
    """
    start, end = edges.ends(positions, lines.edge)
    across = torch.linalg.cross(end - start, lines.way)
    direction = normalize(end - start, dim=1)
    inward = edges.apex(positions, lines.edge, edges.open[lines.edge]) - start
    inward = inward - (inward * direction).sum(1, keepdim=True) * direction
    return normalize(torch.where(edges.open[lines.edge, None], inward, across), dim=1)


def _attached(
    edges: Edges, positions: Tensor, normals: Tensor, picture: Picture, lines: _Lines, step: Tensor
) -> Tensor:
    """Shadows that begin at the edge itself."""
    start, end = edges.ends(positions, lines.edge)
    place = start + lines.along[:, None] * (end - start)
    point = picture.project(place)
    with torch.no_grad():
        lit = (normals[edges.face[lines.edge]] * lines.way).sum(1) > 0
        toward_lit = edges.apex(positions, lines.edge, ~lit) - place
        normal = _facing(picture.normal(place, end - start), picture.motion(place, toward_lit))
        weight = -(step * lines.power * picture.adjoint_at(point)[:, :3]).sum(1)
    return (weight * (normal * point).sum(1)).sum()


def _cast(
    edges: Edges,
    positions: Tensor,
    picture: Picture,
    lines: _Lines,
    step: Tensor,
    triangle: Tensor,
    lit_side: Tensor,
) -> Tensor:
    """Shadows that fall on triangles [N, 3]; `lit_side` [N, 3] points from the edge to where light passes."""
    start, end = edges.ends(positions, lines.edge)
    place = start + lines.along[:, None] * (end - start)
    corner, second, third = (positions.index_select(0, triangle[:, k]) for k in range(3))
    plane = torch.linalg.cross(second - corner, third - corner)
    steepness = (lines.way * plane).sum(1, keepdim=True)

    def fall(vectors: Tensor) -> Tensor:
        """Vectors [N, 3] moved along the light until they lie in the triangle's plane through 0."""
        return vectors - lines.way * ((vectors * plane).sum(1, keepdim=True) / steepness)

    met = corner + fall(place - corner)
    point = picture.project(met)
    with torch.no_grad():
        normal = _facing(picture.normal(met, fall(end - start)), picture.motion(met, fall(lit_side)))
        weight = -(step * lines.power * picture.adjoint_at(point)[:, :3]).sum(1)
    return (weight * (normal * point).sum(1)).sum()


def _facing(normal: Tensor, way: Tensor) -> Tensor:
    """Normals [N, 2], turned around where they point against `way` [N, 2]."""
    return normal * (normal * way).sum(1, keepdim=True).sign()
