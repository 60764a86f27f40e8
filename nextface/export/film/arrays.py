"""Archives of arrays (.npz) that are longer than memory should hold: written piece by piece."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from nextface.system.atomic import replacing


class ArrayArchive:
    """An archive that is being written; `nextface.system.archive.read_arrays` reads it, and so does NumPy."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, values: Any) -> None:
        """An array that is there as a whole."""
        array = np.asarray(values)
        self.add_rows(name, array.shape, array.dtype, [array])

    def add_all(self, arrays: Mapping[str, Any]) -> None:
        """Arrays by their names."""
        for name, values in arrays.items():
            self.add(name, values)

    def add_rows(self, name: str, shape: tuple[int, ...], kind: Any, pieces: Iterable[np.ndarray]) -> None:
        """An array whose rows come in pieces, one after another."""
        head = {"descr": npy.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            npy.write_array_header_1_0(member, head)
            for piece in pieces:
                member.write(np.ascontiguousarray(piece, kind).tobytes())


def write_archive(path: Path, fill: Any) -> None:
    """An archive at `path`, put in place in one step.

    Parameters
    ----------
    fill: called with an `ArrayArchive`.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(ArrayArchive(archive))
