"""Arrays of HDF5 files, none of which is read before its size is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nextface.errors import MissingPartError
from nextface.model_files.limits import WrongFileError, check_values
from nextface.system.python import pip_install

LARGEST_FILE = 2 << 30  # bytes; the largest Basel model takes 0.5 GB
LARGEST_ARRAY = 100_000_000  # values; 3 x 58,203 coordinates times 200 components are 35 million


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
            return {name: _array(file, name) for name in (*wanted, *more) if name in wanted or name in file}
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, WrongFileError):
            raise
        raise WrongFileError(f"is a damaged HDF5 file ({error})") from None


def _array(file: object, name: str) -> np.ndarray:
    import h5py

    assert isinstance(file, h5py.File)
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise WrongFileError(f"has no array {name}; it holds {', '.join(sorted(file)) or 'nothing'}")
    if found.dtype.kind not in "iuf":
        raise WrongFileError(f"has {name} of the type {found.dtype}")
    check_values(math.prod(found.shape), LARGEST_ARRAY, name)
    return np.asarray(found[()])
