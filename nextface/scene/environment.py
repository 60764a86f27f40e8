"""Distant light: as spherical harmonics, or as a map where it is finer than these."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from nextface.scene.lighting import evaluate_map, project_map, sh_rotation, turned_map, with_bands

MAP_HEIGHT = 64  # rows of the map that coefficients become where nothing else is asked for


@dataclass(frozen=True, eq=False)
class Environment:
    """Distant light in the light frame of a camera (x right, y up, z towards the photographer).

    A fitted light is spherical harmonics coefficients, a loaded one a latitude-longitude map. Each is made of
    the other when somebody asks for it, and kept where no gradient flows through it: else it belongs to one
    graph, which may be gone when it is asked for again.
    """

    light: Tensor  # [N, bands^2, 3] coefficients or [N, H, 2H, 3] map, of linear radiance
    map_height: int = MAP_HEIGHT  # rows of `radiance`, for coefficients
    _made: dict[tuple[str, int], Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def is_mapped(self) -> bool:
        """True for a map, False for coefficients."""
        return self.light.dim() == 4

    @property
    def bands(self) -> int:
        """How many bands it has: those of its coefficients, or those that its map's rows tell apart."""
        return self.light.shape[1] if self.is_mapped else math.isqrt(self.light.shape[1])

    @property
    def radiance(self) -> Tensor:
        """The map [N, H, 2H, 3] that renderers draw with: linear radiance; differentiable in `light`."""
        return self.light if self.is_mapped else self.map(self.map_height)

    def map(self, height: int) -> Tensor:
        """The light as a map [N, height, 2 height, 3]; differentiable in `light`.

        Raises
        ------
        ValueError: for a light that is a map of another height.
        """
        if self.is_mapped:
            if height != self.light.shape[1]:
                raise ValueError(f"the light is a map of {self.light.shape[1]} rows, not {height}")
            return self.light
        return self._kept("map", height, evaluate_map)

    def coefficients(self, bands: int) -> Tensor:
        """Its spherical harmonics [N, bands^2, 3]; differentiable in `light`.

        Coefficients are cut off after so many bands, or go on with zeros. A map is projected by least squares.

        Raises
        ------
        ValueError: for a map with too few rows to tell so many bands apart.
        """
        if not self.is_mapped:
            return with_bands(self.light, bands)
        return self._kept("coefficients", bands, project_map)

    def turned(self, rotation: Tensor) -> Environment:
        """The light turned with rotations [N, 3, 3]: what came from d comes from R d.

        This takes a light that belongs to the world into the light frame of a camera. It is exact for
        coefficients, and differentiable in them and in the rotations; a map is looked up bilinearly.
        """
        if self.is_mapped:
            return Environment(turned_map(self.light, rotation))
        return Environment(sh_rotation(rotation, self.bands) @ self.light, self.map_height)

    def __getitem__(self, photos: slice) -> Environment:
        """The lights of some photos."""
        return Environment(self.light[photos], self.map_height)

    def _kept(self, kind: str, size: int, make: Callable[[Tensor, int], Tensor]) -> Tensor:
        """What `make` makes of the light; kept for a light without gradients."""
        if self.light.requires_grad:
            return make(self.light, size)
        if (kind, size) not in self._made:
            self._made[kind, size] = make(self.light, size)
        return self._made[kind, size]
