"""What makes a file of somebody else's unreadable, and how large one may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class WrongFileError(ValueError):
    """What is wrong with a file, in words that go on from "it ..."."""


def check_size(path: Path, largest: int) -> None:
    """Refuse a file of more bytes than `largest` before anything of it is read.

    Raises
    ------
    WrongFileError: it is larger.
    OSError: it is not there.
    """
    size = path.stat().st_size
    if size > largest:
        raise WrongFileError(f"has {size / 1e6:,.0f} MB; at most {largest / 1e6:,.0f} MB are read")


def check_values(count: int, largest: int, what: str) -> None:
    """Refuse an array that says of itself to hold more than `largest` values, before it is made.

    Raises
    ------
    WrongFileError: it does.
    """
    if not 0 <= count <= largest:
        raise WrongFileError(f"says that {what} has {count:,} values; at most {largest:,} are read")


def check_together(counts: Mapping[str, int], largest: int) -> None:
    """Refuse arrays that say of themselves to hold more than `largest` values together, before one is made.

    Parameters
    ----------
    counts: the number of values in each array by its name.

    Raises
    ------
    WrongFileError: they do, or one alone does.
    """
    for name, count in counts.items():
        check_values(count, largest, name)
    check_values(sum(counts.values()), largest, f"{', '.join(counts)} together")
