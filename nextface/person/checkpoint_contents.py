"""What a checkpoint file says, checked value by value before anything is made of it.

A checkpoint may be damaged, cut down, written by another program or forged; whatever it holds, the answer is
a value that fits or an error that names the file and the array.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextface.errors import CheckpointError
from nextface.system.archive import ArchiveError, read_arrays

Sizes = tuple[int | None, ...]  # of an array; None: any, but not 0


class CheckpointContents:
    """The arrays of a checkpoint file, taken out one by one with what each must be."""

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises
        ------
        CheckpointError: it is missing, or is no archive of plain arrays of a sensible size.
        """
        self._path = path
        try:
            self._arrays = read_arrays(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise CheckpointError(
                f"There is no checkpoint {path}. Checkpoints are DIR/checkpoints/stage1.npz to stage3.npz."
            ) from None
        except ArchiveError as error:
            raise CheckpointError(
                f"{path} is not a checkpoint of this program, or is damaged: it {error}."
            ) from None
        except OSError as error:
            raise CheckpointError(f"The checkpoint {path} cannot be read ({error.strerror}).") from None

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def text(self, name: str) -> str:
        """A string."""
        return str(self._single(name, "U", "text"))

    def flag(self, name: str) -> bool:
        """A truth value."""
        return bool(self._single(name, "b", "a truth value"))

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number between two others."""
        value = int(self._single(name, "iu", "a whole number"))
        if not low <= value <= high:
            raise self.wrong(name, f"is {value}, not {low} to {high}")
        return value

    def numbers(
        self, name: str, sizes: Sizes, low: float = -np.inf, high: float = np.inf, kind: type = np.float32
    ) -> np.ndarray:
        """Finite numbers between two others, of a shape and as a type."""
        values = self._array(name)
        if values.dtype.kind not in "iuf":
            raise self.wrong(name, f"holds {values.dtype}, not numbers")
        fits = len(values.shape) == len(sizes) and all(
            size > 0 if wanted is None else size == wanted
            for size, wanted in zip(values.shape, sizes, strict=True)
        )
        if not fits:
            said = ", ".join("any" if size is None else str(size) for size in sizes)
            raise self.wrong(name, f"is {tuple(values.shape)}, not ({said})")
        if not np.isfinite(values).all():
            raise self.wrong(name, "holds values that are not finite; start from an earlier checkpoint")
        if values.size and not (low <= values.min() and values.max() <= high):
            raise self.wrong(
                name, f"holds {values.min():.4g} to {values.max():.4g}; a fit gives {low:g} to {high:g}"
            )
        return values.astype(kind)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array."""
        return self._array(name).shape

    def wrong(self, name: str, what: str) -> CheckpointError:
        """An error that names the file and the array."""
        return CheckpointError(f"The checkpoint {self._path} does not fit this program: {name} {what}.")

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise CheckpointError(f"{self._path} is not a checkpoint of this program: it has no {name}.")
        return self._arrays[name]

    def _single(self, name: str, kinds: str, what: str) -> np.generic:
        value = self._array(name)
        if value.size != 1 or value.dtype.kind not in kinds:
            raise self.wrong(name, f"is not {what}")
        single: np.generic = value.reshape(-1)[0]
        return single
