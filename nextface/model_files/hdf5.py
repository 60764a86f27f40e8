"""Arrays of HDF5 files, none of which is read before its size is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextface.errors import MissingPartError
from nextface.model_files.limits import WrongFileError, check_together
from nextface.system.python import pip_install

if TYPE_CHECKING:
    import h5py

LARGEST_FILE = 2 << 30  # bytes; the largest Basel model takes 0.5 GB
MOST_VALUES = 150_000_000  # of all arrays together; 3 x 58,203 coordinates of 300 components are 52 million


def read_hdf5(path: Path, wanted: Sequence[str], more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays by their names: those that are wanted, and those of `more` that are there.

    Raises
    ------
    MissingPartError: the package h5py is not installed.
    WrongFileError: it is no HDF5 file, lacks what is wanted, or says that this is absurdly large.
    OSError: it cannot be read.
    """
    try:
        import h5py
    except ImportError:
        raise MissingPartError(f"Reading {path} needs h5py: {pip_install('h5py')}") from None
    if not h5py.is_hdf5(path):
        raise WrongFileError("is no HDF5 file")
    try:
        with h5py.File(path, "r") as file:
            found = {name: _array(file, name) for name in (*wanted, *more) if name in wanted or name in file}
            check_together({name: math.prod(array.shape) for name, array in found.items()}, MOST_VALUES)
            return {name: np.asarray(array[()]) for name, array in found.items()}
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, WrongFileError):
            raise
        raise WrongFileError(f"is a damaged HDF5 file ({error})") from None


def _array(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of numbers that is not read yet."""
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise WrongFileError(f"has no array {name}; it holds {', '.join(sorted(file)) or 'nothing'}")
    if found.dtype.kind not in "iuf":
        raise WrongFileError(f"has {name} of the type {found.dtype}")
    return found
