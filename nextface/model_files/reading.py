"""A user's model file as arrays: read once, checked, kept, and explained where it is not what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextface.model_files.cache import Arrays, fingerprint_of_files, kept
from nextface.model_files.limits import WrongFileError, check_size
from nextface.model_files.wanted import Wanted
from nextface.system.archive import ArchiveError


def converted(
    model: str, wanted: Wanted, paths: Sequence[Path], form: str, largest: int, read: Callable[[], Arrays]
) -> Arrays:
    """What `read` makes of a file or of a folder's files, from the cache where they were read before.

    Parameters
    ----------
    model: the INI name, for messages.
    wanted: what the files should be.
    paths: the files; the first names them in messages.
    form: changes when the same files are read differently.
    largest: bytes of each file; larger ones are refused before anything of them is read.
    read: raises WrongFileError or ArchiveError for what is wrong with them.

    Raises
    ------
    ModelError: they are not what they should be.
    """
    try:
        for path in paths:
            check_size(path, largest)
        return kept(model, fingerprint_of_files(paths, form), read)
    except (WrongFileError, ArchiveError) as error:
        raise wanted.wrong(model, paths[0], str(error)) from None
    except OSError as error:
        raise wanted.wrong(model, paths[0], f"cannot be read ({error.strerror or error})") from None


def taken(stored: Mapping[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """One array of numbers as float64, if it has the shape; None stands for any length.

    Raises
    ------
    WrongFileError: it is not there, of another shape, or not finite.
    """
    if name not in stored:
        raise WrongFileError(f"holds no array {name!r}; it holds {', '.join(sorted(stored)) or 'none'}")
    values = np.asarray(stored[name])
    fits = values.dtype.kind in "biuf" and len(values.shape) == len(shape)
    if not fits or any(want not in (None, have) for have, want in zip(values.shape, shape, strict=True)):
        said = " x ".join("any" if size is None else str(size) for size in shape)
        raise WrongFileError(f"has {name!r} of the shape {list(values.shape)}, not {said}")
    if not np.isfinite(values).all():
        raise WrongFileError(f"has values in {name!r} that are not finite")
    return values.astype(np.float64)


def taken_indices(
    stored: Mapping[str, Any], name: str, shape: tuple[int | None, ...], count: int
) -> np.ndarray:
    """The same of numbers that stand for one of `count` things, as int64.

    Raises
    ------
    WrongFileError: as of `taken`, or one of the things is not there.
    """
    numbers = taken(stored, name, shape)
    values = numbers.astype(np.int64)
    if not values.size or (values != numbers).any():
        raise WrongFileError(f"has {name!r} without numbers, or with some that are not whole")
    if not (values.min() >= 0 and values.max() < count):
        raise WrongFileError(f"has {name!r} from {values.min()} to {values.max()}, of {count} things")
    return values


def single(**arrays: np.ndarray) -> Arrays:
    """Arrays of real numbers in single precision, as they are kept."""
    return {name: np.ascontiguousarray(values, np.float32) for name, values in arrays.items()}
