"""Files of face models that anybody may have: where they are offered, under which licence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Licence:
    """What whoever takes the files agrees to."""

    name: str
    holder: str  # the notice that goes with every copy
    source: str  # where its text is
    terms: str  # what it says, in a few sentences


class Source(Protocol):
    """A public place of files, pinned to one content."""

    @property
    def described(self) -> str:
        """What is fetched from where, and how large it is."""
        ...

    @property
    def by_hand(self) -> str:
        """How to get the same without this program, in a sentence that ends before where to put it."""
        ...

    def fetch(self, folder: Path, tell: Tell) -> Path:
        """Put the files into a user's folder, all or nothing; returns where they lie.

        Raises
        ------
        FetchError: they cannot be had, are not what is pinned, or something else is in their place.
        OutputError: they cannot be written.
        """
        ...


@dataclass(frozen=True)
class Offer:
    """Files of a face model, fetched when a user asks for them and agrees to the licence."""

    what: str
    licence: Licence
    source: Source
