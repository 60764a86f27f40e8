"""Where the unknowns of stage 2 lie in a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.person.parameters import LIGHT_LOBES, Parameters

SHARED = ("identity", "albedo")
GEOMETRY = ("identity", "expression", "rotation", "translation", "focal")
LARGEST_STEP = {
    "identity": 1.0,
    "albedo": 1.0,
    "rotation": 0.1,
    "translation": 40.0,
    "focal": 0.1,
    "light": 1.0,
}


@dataclass(frozen=True)
class Layout:
    """The unknowns of one photo in a row: identity and albedo, which photos share, then its own.

    Lights lie channel by channel.
    """

    sizes: dict[str, int]  # of the parameters that move, in their order

    @classmethod
    def of(cls, parameters: Parameters, geometry: bool, light: bool = True) -> Layout:
        """The layout of all parameters, or of those left without the geometry or the light."""
        names = ("identity", "albedo", "expression", "rotation", "translation", "focal")
        sizes = {
            name: getattr(parameters, name)[0].numel() for name in names if geometry or name not in GEOMETRY
        }
        return cls({**sizes, "light": 3 * LIGHT_LOBES} if light else sizes)

    @property
    def geometry(self) -> bool:
        """Whether shape, pose and focal length move."""
        return "identity" in self.sizes

    @property
    def light(self) -> bool:
        """Whether the light moves."""
        return "light" in self.sizes

    @property
    def shared(self) -> int:
        """How many unknowns the photos share."""
        return sum(self.sizes.get(name, 0) for name in SHARED)

    @property
    def unknowns(self) -> int:
        """How many there are in all."""
        return sum(self.sizes.values())

    def first(self, name: str) -> int:
        """The first unknown of a parameter."""
        names = list(self.sizes)
        return sum(self.sizes[other] for other in names[: names.index(name)])

    def own(self, name: str) -> slice:
        """Where a parameter lies among the photo's own unknowns."""
        first = self.first(name) - self.shared
        return slice(first, first + self.sizes[name])

    def moved(self, parameters: Parameters, person: Tensor, own: Sequence[Tensor]) -> Parameters:
        """The parameters after the steps of `nextface.fitting.statistical.normal_equations.solve`."""
        rows = torch.stack([torch.cat([person, one]) for one in own])
        values = {}
        for name, size in self.sizes.items():
            old = getattr(parameters, name)
            first = self.first(name)
            step = rows[: len(old), first : first + size]
            if name == "light":
                step = step.unflatten(1, (3, -1)).mT
            most = LARGEST_STEP.get(name, math.inf)
            values[name] = old + step.reshape(old.shape).clamp(-most, most).to(old)
        return replace(parameters, **values)
