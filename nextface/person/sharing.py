"""Who shares what: which photos have one value of a parameter in common.

A table says whose each parameter is; what is known of the photos says which of them belong together. All stages
and checkpoints ask the `Sharing` that comes of both, and know nothing else of who shares what. Maps are the
person's.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from nextface.person.circumstances import Circumstances
from nextface.person.parameters import Parameters

Owner = Literal["photo", "moment", "camera", "session", "person"]
Group = tuple[Owner, int]  # the photos of one owner, by its number
SharingTable = Mapping[str, Owner]  # whose each parameter is

OWNERS: tuple[Owner, ...] = ("photo", "moment", "camera", "session", "person")  # mostly from few photos to many
NAMES = tuple(item.name for item in fields(Parameters))
SHARED_IDENTITY: SharingTable = {  # one person in any number of photos, which may be one
    "identity": "person",
    "albedo": "person",
    "expression": "photo",
    "rotation": "photo",
    "translation": "photo",
    "focal": "camera",
    "light": "photo",
}


@dataclass(frozen=True)
class Sharing:
    """Which row of each parameter each of N photos uses.

    The focal length that photos share is that of the first of them; `focal_offsets` lead to the others'.
    """

    table: SharingTable
    groups: Mapping[Owner, tuple[int, ...]]  # for each photo the number of its group, counted as they appear
    focal_offsets: tuple[float, ...]  # for each photo the logarithm of its focal length over its row's

    @classmethod
    def of(cls, table: SharingTable, photos: Sequence[Circumstances]) -> Sharing:
        """What photos share by a table that names an owner for each parameter."""
        groups: dict[Owner, tuple[int, ...]] = {
            "photo": tuple(range(len(photos))),
            "moment": _numbered([photo.moment for photo in photos]),
            "camera": _numbered([photo.camera for photo in photos]),
            "session": _numbered([photo.session for photo in photos]),
            "person": (0,) * len(photos),
        }
        rows = groups[table["focal"]]
        firsts = [photos[rows.index(row)] for row in rows]
        offsets = (math.log(photo.focal / first.focal) for photo, first in zip(photos, firsts, strict=True))
        return cls({name: table[name] for name in NAMES}, groups, tuple(offsets))

    def __len__(self) -> int:
        """The number of photos N."""
        return len(self.focal_offsets)

    def __getitem__(self, photo: int) -> Sharing:
        """That of one photo, which has every row for itself."""
        return Sharing.of(self.table, [Circumstances()])

    def rows(self, name: str) -> tuple[int, ...]:
        """For each photo the row of a parameter that it uses."""
        return self.groups[self.table[name]]

    def count(self, name: str) -> int:
        """How many rows a parameter has."""
        return max(self.rows(name)) + 1

    def firsts(self, name: str) -> tuple[int, ...]:
        """For each row of a parameter the first photo that uses it."""
        rows = self.rows(name)
        return tuple(rows.index(row) for row in range(self.count(name)))

    def share(self, name: str, photo: int) -> float:
        """One over the number of photos that use the same row as this one: its part of what counts once."""
        rows = self.rows(name)
        return 1 / rows.count(rows[photo])

    def common(self, names: Sequence[str]) -> list[str]:
        """Those of some parameters that any photos share, the person's first."""
        shared = [name for name in names if self.count(name) < len(self)]
        return sorted(shared, key=lambda name: -OWNERS.index(self.table[name]))

    def groups_of(self, sizes: Mapping[str, int], photo: int) -> dict[Group, int]:
        """How many unknowns each of a photo's groups has, where parameters have so many.

        Parameters
        ----------
        sizes: by name, the parameters of each owner one after another.
        """
        owners = ((self.table[name], size) for name, size in sizes.items())
        return {
            (owner, self.groups[owner][photo]): sum(size for _, size in parts)
            for owner, parts in groupby(owners, key=lambda part: part[0])
        }

    def by_photo(self, name: str, values: Tensor) -> Tensor:
        """Values [rows, ...] of a parameter, once for each photo: [N, ...]."""
        if self.count(name) == len(self):
            return values
        if self.count(name) == 1:
            return values.expand(len(self), *values.shape[1:])
        return values[torch.tensor(self.rows(name), device=values.device)]

    def of_photo(self, parameters: Parameters, photo: int) -> Parameters:
        """One photo's parameters, one row of each; gradients reach the shared tensors."""
        values: dict[str, Tensor] = {}
        for name in NAMES:
            rows, row = getattr(parameters, name), self.rows(name)[photo]
            values[name] = rows if len(rows) == 1 else rows[row : row + 1]
        if self.focal_offsets[photo]:
            values["focal"] = values["focal"] + self.focal_offsets[photo]
        return Parameters(**values)

    def joined(self, photos: Sequence[Parameters]) -> Parameters:
        """All photos' parameters, from one row of each for every photo; a shared one is the first photo's."""
        return Parameters(
            **{name: torch.cat([getattr(photos[first], name) for first in self.firsts(name)]) for name in NAMES}
        )


def _numbered(labels: Sequence[Hashable | None]) -> tuple[int, ...]:
    """Numbers of the groups of equal labels, counted as they appear; None is equal to none."""
    numbers: dict[Hashable, int] = {}
    keys = (("unknown", photo) if label is None else ("known", label) for photo, label in enumerate(labels))
    return tuple(numbers.setdefault(key, len(numbers)) for key in keys)


ONE_PHOTO = Sharing.of(SHARED_IDENTITY, [Circumstances()])
