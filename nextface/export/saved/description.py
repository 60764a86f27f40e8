"""What scene_i.json says of one photo, checked value by value before anything is made of it.

The file may be damaged, cut down, of another version or written by hand; whatever it holds, the answer is a
value that fits or an error that names the file and the entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from nextface.errors import ResultError
from nextface.export.folder import SCHEMA_VERSION
from nextface.export.saved.json_object import AGAIN, read_json_object

MOST_BYTES = 4 << 20  # of a description; those of the shipped models take 20 kB
MOST_PIXELS = 100_000  # a side
MOST_COEFFICIENTS = 10_000  # of a face model, of one kind


@dataclass(frozen=True)
class Description:
    """One photo of a result: its camera and the coefficients of what was written."""

    path: Path
    intrinsics: np.ndarray  # [3, 3] float64, pixels of the processed photo
    width: int  # pixels
    height: int  # pixels
    model: str  # the face model's name
    coefficients: Mapping[str, np.ndarray]  # "identity", "expression", "albedo" -> [K] float64
    files: Mapping[str, str]  # by kind, the names of the files in the result folder

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read scene_i.json.

        Raises
        ------
        ResultError: it is missing, damaged, of another version, or holds what no result does.
        """
        found = _Entries(path, read_json_object(path, MOST_BYTES))
        version = found.whole("schemaVersion", 0, 2**31)
        if version != SCHEMA_VERSION:
            advice = (
                "A newer version of this program made it: update this one."
                if version > SCHEMA_VERSION
                else AGAIN
            )
            raise ResultError(f"{path} is of schema {version}, this program reads {SCHEMA_VERSION}. {advice}")
        model = found.inside("model")
        intrinsics = found.numbers("K", (3, 3))
        if not (intrinsics[0, 0] > 0 and intrinsics[1, 1] > 0 and (intrinsics[2] == (0, 0, 1)).all()):
            raise found.wrong("K", "is no camera matrix")
        return cls(
            path,
            intrinsics,
            found.whole("width", 1, MOST_PIXELS),
            found.whole("height", 1, MOST_PIXELS),
            model.text("name"),
            {kind: model.numbers(kind, (None,)) for kind in ("identity", "expression", "albedo")},
            found.file_names("files"),
        )


@dataclass(frozen=True)
class _Entries:
    """The entries of a JSON object, taken out one by one with what each must be."""

    path: Path
    values: Mapping[str, Any]
    where: str = ""  # the names of the objects around this one

    def inside(self, name: str) -> _Entries:
        value = self._value(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "holds no entries")
        return _Entries(self.path, value, f"{self.where}{name}.")

    def whole(self, name: str, low: int, high: int) -> int:
        value = self._value(name)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"is not a whole number from {low} to {high}")
        return value

    def text(self, name: str) -> str:
        value = self._value(name)
        if not isinstance(value, str):
            raise self.wrong(name, "is no text")
        return value

    def numbers(self, name: str, sizes: tuple[int | None, ...]) -> np.ndarray:
        """Finite numbers of a shape; None: any size up to MOST_COEFFICIENTS."""
        try:
            values = np.array(self._value(name), dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(name, "does not hold numbers alone") from None
        fits = values.ndim == len(sizes) and all(
            size <= MOST_COEFFICIENTS if wanted is None else size == wanted
            for size, wanted in zip(values.shape, sizes, strict=True)
        )
        if not fits or not np.isfinite(values).all():
            raise self.wrong(name, f"holds {values.shape} numbers, or some that are not finite")
        return values

    def file_names(self, name: str) -> dict[str, str]:
        """File names by kind, none of which leads out of the folder."""
        entries = self.inside(name)
        names = {kind: entries.text(kind) for kind in entries.values}
        for kind, file in names.items():
            plain = PurePosixPath(file).name == file and PureWindowsPath(file).name == file
            if not plain or "\0" in file or file == "..":
                raise entries.wrong(kind, "is no file beside it")
        return names

    def wrong(self, name: str, what: str) -> ResultError:
        return ResultError(f"{self.path} is damaged: {self.where}{name} {what}.")

    def _value(self, name: str) -> Any:
        if name not in self.values:
            raise ResultError(
                f"{self.path} is damaged, or no description of a photo: it has no {self.where}{name}."
            )
        value = self.values[name]
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong(name, "is not finite")
        return value
