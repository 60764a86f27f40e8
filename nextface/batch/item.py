"""One photo of a long list, and what a try at it gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nextface.export.report.index import Outcome


@dataclass(frozen=True)
class Item:
    """A photo of the list."""

    place: str  # path or URL
    name: str  # of its result folder
    landmarks: Path | None = None
    mask: Path | None = None

    @property
    def photo(self) -> Path:
        """The photo's name, as a path."""
        return Path(PurePosixPath(self.place).name)


@dataclass(frozen=True)
class Tried:
    """What one try at an item gave."""

    outcome: Outcome
    again: bool = False  # whether another try may end otherwise
    before: bool = False  # whether it was done in an earlier run, or by a worker that was thought lost


def failed(item: Item, error: str, status: str = "failed") -> Outcome:
    """The outcome of an item that came to nothing."""
    return Outcome(item.photo, Path(item.name), status, None, 0.0, error)
