"""Where refined reflectance lives: on the texels of a UV map, or on the vertices of a mesh.

A domain says how a correction is parametrised, mirrored, smoothed and measured. Refinement is the same on
both. All measures are means over covered elements and do not depend on the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

COARSEST_LEVEL = 8  # texels: the coarsest level of a map's correction
BROAD_LEVEL = 32  # texels: what is visible at this size is broad, as shading is; moles and pores are not
SMOOTHED_UP_TO = 256  # texels: up to this size levels are smoothed beyond bilinear weights, whose grid shows
REFERENCE_SIZE = 256  # texels: smoothness is measured in differences over 1/256 of the map
EDGE = 0.04  # difference of neighbours in latent units, beyond which it is a beard's or a mole's rim, not noise


class Domain(Protocol):
    """A set of elements on the face's surface that carry reflectance."""

    def zeros(self, channels: int) -> list[Tensor]:
        """Parameters of a correction that is zero everywhere."""
        ...

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        """The correction [1, ..., C] that the parameters stand for."""
        ...

    def mirrored(self, values: Tensor) -> Tensor | None:
        """Values of the other side of the face, or None where the model has no symmetry."""
        ...

    def broad(self, values: Tensor) -> Tensor:
        """Slowly varying part of the values, for measuring."""
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

    def __init__(self, covered: Tensor, symmetric: bool) -> None:
        """`covered` [H, W] bool says which texels the mesh uses; `symmetric`: column u mirrors 1 - u."""
        self.covered = covered
        self.symmetric = symmetric
        self._weight = covered.float()[None, :, :, None]
        self._broad_weight = self._pooled(self._weight)

    def zeros(self, channels: int) -> list[Tensor]:
        size, sizes = self.covered.shape[0], []
        while size >= COARSEST_LEVEL:
            sizes.append(size)
            size //= 2
        return [torch.zeros(1, channels, size, size, device=self.covered.device) for size in reversed(sizes)]

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        total = parameters[0]
        for level in parameters[1:]:
            total = interpolate(total, size=level.shape[-1], mode="bilinear", align_corners=False)
            if level.shape[-1] <= SMOOTHED_UP_TO:
                total = avg_pool2d(pad(total, (1, 1, 1, 1), mode="replicate"), 3, 1)
            total = total + level
        return total.permute(0, 2, 3, 1)

    def mirrored(self, values: Tensor) -> Tensor | None:
        return values.flip(2) if self.symmetric else None

    def broad(self, values: Tensor) -> Tensor:
        return self._pooled(values * self._weight) / self._broad_weight.clamp(min=1e-6)

    def energy(self, values: Tensor) -> Tensor:
        weight = self._weight if values.shape[1:3] == self._weight.shape[1:3] else self._broad_weight
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

    def _pooled(self, values: Tensor) -> Tensor:
        # Overlapping cells: plain means would push all texels of a cell alike, and draw the cells.
        moved = values.permute(0, 3, 1, 2)
        pooled = interpolate(moved, size=BROAD_LEVEL, mode="bilinear", antialias=True, align_corners=False)
        return pooled.permute(0, 2, 3, 1)


class VertexDomain:
    """Vertices of a mesh; corrections are plain values, made broad by averaging over small cells of space."""

    CELL_MM = 8.0  # edge of the cells, about the extent of a texel of BROAD_LEVEL on a face

    def __init__(self, vertices: Tensor, triangles: Tensor, mirror: Tensor | None) -> None:
        """Vertices [V, 3] (mm), triangles [F, 3]; `mirror` [V] is each vertex's mirror image."""
        edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        self._first, self._second = torch.unique(edges.sort(1).values, dim=0).unbind(1)
        self._mirror = mirror
        self._count = len(vertices)
        cells = (vertices / self.CELL_MM).round().long()
        self._cell = torch.unique(cells, dim=0, return_inverse=True)[1]
        self._cell_size = torch.bincount(self._cell).to(vertices)[:, None]

    def zeros(self, channels: int) -> list[Tensor]:
        return [torch.zeros(1, self._count, channels, device=self._cell.device)]

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        return parameters[0]

    def mirrored(self, values: Tensor) -> Tensor | None:
        return None if self._mirror is None else values.index_select(1, self._mirror)

    def broad(self, values: Tensor) -> Tensor:
        total = values.new_zeros(1, len(self._cell_size), values.shape[-1])
        return total.index_add(1, self._cell, values) / self._cell_size

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
