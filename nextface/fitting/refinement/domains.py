"""Where refined reflectance lives: on the texels of a UV map, or on the vertices of a mesh.

A domain says how a correction is parametrised, mirrored, smoothed and measured. Refinement is the same on
both. All measures are means over covered elements and do not depend on the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from nextface.models.mirrored_maps import TexelMirror

COARSEST_LEVEL = 8  # texels: the coarsest level of a map's correction
REFERENCE_SIZE = 256  # texels: smoothness is measured in differences over 1/256 of the map
EDGE = 0.04  # difference of neighbours in latent units, beyond which it is a beard's or a mole's rim, not noise


class Domain(Protocol):
    """A set of elements on the face's surface that carry reflectance."""

    def parameters(self, correction: Tensor) -> list[Tensor]:
        """Parameters of a correction [1, ..., C], which is resampled where a map has another size."""
        ...

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        """The correction [1, ..., C] that the parameters stand for."""
        ...

    def coarser(self) -> Domain:
        """A domain of fewer elements, for what has no fine detail; the same where there is no such."""
        ...

    def adopted(self, values: Tensor) -> Tensor:
        """Values [1, ..., C] of a domain of the same kind, in this one's layout."""
        ...

    def mirrored(self, values: Tensor) -> Tensor | None:
        """Values of the other side of the face, or None where the model has no symmetry.

        An element without a mirror image keeps its own.
        """
        ...

    def broad(self, values: Tensor, size: int) -> Tensor:
        """What a map of `size` texels a side would show of the values, for measuring."""
        ...

    def energy(self, values: Tensor) -> Tensor:
        """Mean square over covered elements."""
        ...

    def variation(self, values: Tensor) -> Tensor:
        """Mean penalty on the difference between neighbours, per 1/256 of the map or per mean edge."""
        ...


class TexelDomain:
    """Texels of a square map; corrections are sums of a pyramid's levels.

    With a pyramid every step of an optimiser that normalises gradients (Adam) moves broad regions together:
    it converges in fewer steps than single texels would, and noise averages out.
    """

    def __init__(self, covered: Tensor, mirror: TexelMirror | None, held: Tensor | None = None) -> None:
        """`covered` [H, H] bool says which texels the mesh uses; `mirror`: where their mirror images lie.

        `held` [H, H] in [0, 1] is how much a texel counts in what is measured; None: all alike. H is
        COARSEST_LEVEL to 2 COARSEST_LEVEL, or that doubled any number of times.
        """
        self.covered = covered
        self._mirror = mirror
        self._held = torch.ones_like(covered, dtype=torch.float32) if held is None else held
        self._weight = (covered * self._held)[None, :, :, None]
        self._pooled_weights: dict[int, Tensor] = {covered.shape[0]: self._weight}

    def parameters(self, correction: Tensor) -> list[Tensor]:
        finest = self.adopted(correction).permute(0, 3, 1, 2).contiguous()
        size, levels = finest.shape[-1], [finest]
        while size >= 2 * COARSEST_LEVEL:
            size //= 2
            levels.insert(0, finest.new_zeros(1, finest.shape[1], size, size))
        return levels

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        total = parameters[0]
        for level in parameters[1:]:
            total = doubled(total) + level
        return total.permute(0, 2, 3, 1)

    def coarser(self) -> Domain:
        if self.covered.shape[0] < 2 * COARSEST_LEVEL:
            return self
        covered, held = (max_pool2d(part.float()[None], 2)[0] for part in (self.covered, self._held))
        return TexelDomain(covered > 0, self._mirror, held)

    def adopted(self, values: Tensor) -> Tensor:
        moved, size = values.permute(0, 3, 1, 2), self.covered.shape[0]
        if 2 * moved.shape[-1] == size:
            return doubled(moved).permute(0, 2, 3, 1)
        if moved.shape[-1] != size:
            moved = interpolate(moved, size=size, mode="bilinear", antialias=True, align_corners=False)
        return moved.permute(0, 2, 3, 1)

    def mirrored(self, values: Tensor) -> Tensor | None:
        return None if self._mirror is None else self._mirror.mirrored(values, elsewhere=values)

    def broad(self, values: Tensor, size: int) -> Tensor:
        if size >= values.shape[1]:
            return values
        if size not in self._pooled_weights:
            self._pooled_weights[size] = _pooled(self._weight, size)
        return _pooled(values * self._weight, size) / self._pooled_weights[size].clamp(min=1e-6)

    def energy(self, values: Tensor) -> Tensor:
        weight = self._pooled_weights[values.shape[1]]
        return (values.square() * weight).sum() / (weight.sum() * values.shape[-1])

    def variation(self, values: Tensor) -> Tensor:
        scale = self.covered.shape[0] / REFERENCE_SIZE
        total = values.new_zeros(())
        for axis in (1, 2):
            count = values.shape[axis] - 1
            both = self._weight.narrow(axis, 1, count) * self._weight.narrow(axis, 0, count)
            difference = (values.narrow(axis, 1, count) - values.narrow(axis, 0, count)) * scale
            total = total + (_edge_preserving(difference) * both).sum() / both.sum()
        return total


def _pooled(values: Tensor, size: int) -> Tensor:
    """Means [N, size, size, C] over cells of a map; they overlap, lest an optimiser should draw the cells."""
    moved = values.permute(0, 3, 1, 2)
    pooled = interpolate(moved, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pooled.permute(0, 2, 3, 1)


def doubled(values: Tensor) -> Tensor:
    """Maps [N, C, H, W] at twice the size: bilinear, then averaged over 3 x 3, lest the bilinear grid show.

    Both at once, by three taps along each axis: several times faster, forwards and backwards.
    """
    for axis in (2, 3):
        last = values.shape[axis] - 1
        first = values.narrow(axis, 0, 1), values.narrow(axis, 0, last)
        second = values.narrow(axis, 1, last), values.narrow(axis, last, 1)
        before, after = torch.cat(first, axis), torch.cat(second, axis)
        middle = values * (7 / 12)
        even = middle.add(before, alpha=4 / 12).add_(after, alpha=1 / 12)
        odd = middle.add(after, alpha=4 / 12).add_(before, alpha=1 / 12)
        values = torch.stack([even, odd], axis + 1).flatten(axis, axis + 1)
    return values


class VertexDomain:
    """Vertices of a mesh; corrections are plain values, made broad by averaging over small cells of space."""

    MAP_MM = 256.0  # about the extent on a face of a whole map's side; cells are as large as its texels

    def __init__(self, vertices: Tensor, triangles: Tensor, mirror: Tensor | None) -> None:
        """Vertices [V, 3] (mm), triangles [F, 3]; `mirror` [V] is each vertex's mirror image."""
        edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        first, second = edges.sort(1).values.unbind(1)
        number = torch.unique(first * len(vertices) + second)  # numbers are sorted sooner than rows
        self._first, self._second = number.div(len(vertices), rounding_mode="floor"), number % len(vertices)
        self._mirror = mirror
        self._count = len(vertices)
        self._vertices = vertices
        self._cells: dict[int, tuple[Tensor, Tensor]] = {}

    def parameters(self, correction: Tensor) -> list[Tensor]:
        return [correction.clone()]

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        return parameters[0]

    def coarser(self) -> Domain:
        return self

    def adopted(self, values: Tensor) -> Tensor:
        return values

    def mirrored(self, values: Tensor) -> Tensor | None:
        return None if self._mirror is None else values.index_select(1, self._mirror)

    def broad(self, values: Tensor, size: int) -> Tensor:
        if size not in self._cells:
            x, y, z = (self._vertices * (size / self.MAP_MM)).round().long().unbind(1)
            rows, columns = (axis - axis.min() for axis in (y, z))
            number = (x * (rows.max() + 1) + rows) * (columns.max() + 1) + columns
            cell = torch.unique(number, return_inverse=True)[1]
            self._cells[size] = cell, torch.bincount(cell).to(self._vertices)[:, None]
        cell, count = self._cells[size]
        total = values.new_zeros(1, len(count), values.shape[-1])
        return total.index_add(1, cell, values) / count

    def energy(self, values: Tensor) -> Tensor:
        return values.square().mean()

    def variation(self, values: Tensor) -> Tensor:
        difference = values.index_select(1, self._first) - values.index_select(1, self._second)
        return _edge_preserving(difference).mean()


def _edge_preserving(difference: Tensor) -> Tensor:
    """Squares [..., 1] of small differences [..., C], growing only linearly beyond `EDGE`.

    Noise is smoothed away while real edges stay (Charbonnier et al., "Two deterministic half-quadratic
    regularization algorithms for computed imaging", 1994).
    """
    squares = difference.square().mean(-1, keepdim=True)
    return 2 * EDGE**2 * ((1 + squares / EDGE**2).sqrt() - 1)
