"""The edges of a triangle mesh, and points drawn on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Edges between two faces, or at the end of one: each a face and the corner of it where the edge starts."""

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
        first = (count.cumsum(0) - count)[count == 2]
        one, two = order[first], order[first + 1]
        alone = torch.ones_like(code, dtype=torch.bool)
        alone[one] = alone[two] = False
        ends = alone.nonzero()[:, 0]
        here, beyond = torch.cat([one, ends]), torch.cat([two, ends])
        face, other_face = (torch.div(number, 3, rounding_mode="floor") for number in (here, beyond))
        return cls(rows, face, here % 3, other_face, (beyond + 2) % 3)

    @property
    def open(self) -> Tensor:
        """[E] bool: where the surface ends."""
        return self.face == self.other_face

    def ends(self, positions: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """Where edges [N] start and end, [N, 3] each, given all positions [P, 3]."""
        face, corner = self.triangles[self.face[edge]], self.corner[edge][:, None]
        start, end = face.gather(1, corner), face.gather(1, (corner + 1) % 3)
        return positions.index_select(0, start[:, 0]), positions.index_select(0, end[:, 0])

    def apex(self, positions: Tensor, edge: Tensor, other: Tensor) -> Tensor:
        """The third corner [N, 3] of the faces of edges [N]: of the other face where `other` [N] says so."""
        face = torch.where(other, self.other_face[edge], self.face[edge])
        corner = torch.where(other, self.other_corner[edge], (self.corner[edge] + 2) % 3)
        return positions.index_select(0, self.triangles[face, corner])

    def normals(self, positions: Tensor) -> Tensor:
        """Outward face normals [F, 3], as long as twice the faces' areas."""
        a, b, c = positions[self.triangles].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    def ridges(self, positions: Tensor, normals: Tensor) -> Tensor:
        """[E] bool: whether the surface bends away at the edge, or ends there. Valleys hide nothing."""
        everything = torch.arange(len(self.face))
        start, _ = self.ends(positions, everything)
        rise = (self.apex(positions, everything, torch.ones_like(self.open)) - start) * normals[self.face]
        return (rise.sum(1) < 0) | self.open


@dataclass(frozen=True)
class Places:
    """Points on items that were drawn by weight."""

    item: Tensor  # [N] int64
    along: Tensor  # [N] in [0, 1], evenly spread over each item
    density: Tensor  # [N] expected number of points on the item: what an estimate at the point is divided by


def draw_places(weight: Tensor, count: int, seed: int) -> Places:
    """`count` points spread over items of weight [M] laid end to end; none where all weights are 0."""
    ends = weight.cumsum(0)
    if not len(ends) or not ends[-1] > 0:
        nowhere = weight.new_zeros(0)
        return Places(nowhere.long(), nowhere, nowhere)
    numbers = torch.rand(count, dtype=weight.dtype, generator=torch.Generator().manual_seed(seed))
    place = (torch.arange(count) + numbers) / count * ends[-1]
    # neighbours of a long edge are short ones: rounding must not put a point on an item without weight
    item = torch.searchsorted(ends, place.clamp(max=ends[-1] * (1 - 1e-15)), right=True)
    along = ((place - ends[item]) / weight[item] + 1).clamp(0, 1)
    return Places(item, along, count * weight[item] / ends[-1])
