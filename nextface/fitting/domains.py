"""Where refined reflectance lives: on the texels of a UV map, or on the vertices of a mesh.

A domain says how a correction is parametrised, mirrored, smoothed and measured. Refinement is the same on
both. All measures are means over covered elements and do not depend on the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

COARSEST_LEVEL = 8  # texels: the coarsest level of a map's correction
BROAD_LEVEL = 32  # texels: what is visible at this size is broad, as shading is; moles and pores are not
REFERENCE_SIZE = 256  # texels: smoothness is measured in differences over 1/256 of the map


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
        """Mean squared difference between neighbours, per 1/256 of the map or per mean edge."""
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
            total = interpolate(total, size=level.shape[-1], mode="bilinear", align_corners=False) + level
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
            total = total + (difference.square() * both).sum() / (both.sum() * values.shape[-1])
        return total

    def _pooled(self, values: Tensor) -> Tensor:
        factor = max(self.covered.shape[0] // BROAD_LEVEL, 1)
        return avg_pool2d(values.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


class VertexDomain:
    """Vertices of a mesh; corrections are plain values, made broad by averaging over neighbours."""

    BROAD_STEPS = 20  # rounds of neighbour averaging: about the extent of a texel of BROAD_LEVEL

    def __init__(self, triangles: Tensor, count: int, mirror: Tensor | None) -> None:
        """`triangles` [F, 3] of `count` vertices; `mirror` [V] is each vertex's mirror image."""
        edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        self.edges = torch.unique(edges.sort(1).values, dim=0)
        self.mirror = mirror
        self.count = count
        self._degree = torch.zeros(count, device=triangles.device).index_add(
            0, self.edges.flatten(), torch.ones(self.edges.numel(), device=triangles.device)
        )

    def zeros(self, channels: int) -> list[Tensor]:
        return [torch.zeros(1, self.count, channels, device=self.edges.device)]

    def correction(self, parameters: Sequence[Tensor]) -> Tensor:
        return parameters[0]

    def mirrored(self, values: Tensor) -> Tensor | None:
        return None if self.mirror is None else values[:, self.mirror]

    def broad(self, values: Tensor) -> Tensor:
        first, second = self.edges.unbind(1)
        for _ in range(self.BROAD_STEPS):
            total = torch.zeros_like(values).index_add(1, first, values[:, second]).index_add(1, second, values[:, first])
            values = 0.5 * values + 0.5 * total / self._degree.clamp(min=1)[:, None]
        return values

    def energy(self, values: Tensor) -> Tensor:
        return values.square().mean()

    def variation(self, values: Tensor) -> Tensor:
        first, second = self.edges.unbind(1)
        return (values[:, first] - values[:, second]).square().mean()
