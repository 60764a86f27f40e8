"""Where the unknowns of stage 2 lie in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.person.parameters import Parameters
from nextface.person.sharing import OWNERS, Group, Sharing

ORDER = ("identity", "albedo", "expression", "rotation", "translation", "focal", "light")
GEOMETRY = ("identity", "expression", "rotation", "translation", "focal")
LARGEST_STEP = {
    "identity": 1.0,
    "albedo": 1.0,
    "rotation": 0.1,
    "translation": 100.0,
    "focal": 0.1,
    "light": 1.0,
}


@dataclass(frozen=True)
class UnknownLayout:
    """The unknowns of one photo in a row: those of the person first, the photo's own last.

    Every photo has such a row; `sharing` tells which parts of it photos have in common. Lights lie channel by
    channel.
    """

    sharing: Sharing
    sizes: Mapping[str, int]  # of the parameters that move, in their order

    @classmethod
    def of(cls, parameters: Parameters, sharing: Sharing, geometry: bool, light: bool = True) -> UnknownLayout:
        """The layout of all parameters, or of those left without the geometry or the light."""
        moving = [name for name in ORDER if geometry or name not in GEOMETRY]
        moving = [name for name in moving if light or name != "light"]
        moving.sort(key=lambda name: -OWNERS.index(sharing.table[name]))  # stable: otherwise as before
        sizes = {name: getattr(parameters, name)[0].numel() for name in moving}
        return cls(sharing, sizes)

    @property
    def geometry(self) -> bool:
        """Whether shape, pose and focal length move."""
        return "identity" in self.sizes

    @property
    def light(self) -> bool:
        """Whether the light moves."""
        return "light" in self.sizes

    @property
    def unknowns(self) -> int:
        """How many a photo has."""
        return sum(self.sizes.values())

    def first(self, name: str) -> int:
        """The first unknown of a parameter."""
        names = list(self.sizes)
        return sum(self.sizes[other] for other in names[: names.index(name)])

    def place(self, name: str) -> slice:
        """Where a parameter lies."""
        first = self.first(name)
        return slice(first, first + self.sizes[name])

    def blocks(self, slopes: Tensor, names: Sequence[str]) -> list[tuple[int, Tensor]]:
        """Slopes [..., C] by some parameters, in pieces, each with the place of its first unknown.

        Parameters that lie one after another in the row, too, are one piece.
        """
        pieces: list[tuple[int, int]] = []
        for name in names:
            place = self.place(name)
            if pieces and sum(pieces[-1]) == place.start:
                pieces[-1] = pieces[-1][0], pieces[-1][1] + self.sizes[name]
            else:
                pieces.append((place.start, self.sizes[name]))
        parts = slopes.split([size for _, size in pieces], -1)
        return [(first, part) for (first, _), part in zip(pieces, parts, strict=True)]

    def groups(self, photo: int) -> dict[Group, int]:
        """How many unknowns each group of a photo has, in the order in which they lie."""
        return self.sharing.groups_of(self.sizes, photo)

    def moved(self, parameters: Parameters, steps: Mapping[Group, Tensor]) -> Parameters:
        """The parameters after each group's steps."""
        values = {}
        for name, size in self.sizes.items():
            old, owner = getattr(parameters, name), self.sharing.table[name]
            first = self.first(name) - self._first_of(owner)
            step = torch.stack([steps[owner, row][first : first + size] for row in range(len(old))])
            if name == "light":
                step = step.unflatten(1, (3, -1)).mT
            most = LARGEST_STEP.get(name, math.inf)
            values[name] = old + step.reshape(old.shape).clamp(-most, most).to(old)
        return replace(parameters, **values)

    def _first_of(self, owner: str) -> int:
        """The first unknown of what an owner has."""
        return next(self.first(name) for name in self.sizes if self.sharing.table[name] == owner)
