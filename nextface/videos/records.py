"""Records of one size in a file that only grows: what a long run has found so far, frame by frame.

A process may be killed between any two bytes. Whoever opens the file next finds all whole records, and goes on
after them. Nothing is held in memory but what is asked for.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType

import numpy as np

from nextface.errors import OutputError
from nextface.system.atomic import made_folder

MARK = b"nextface records"


class Records:
    """A file of records; a context manager, because the file must be closed.

    Parameters
    ----------
    path: the file, made where it is missing.
    kind: of a record: a NumPy type without objects.
    key: what the records were made from and how. A file with another key or kind is begun anew.

    Raises
    ------
    OutputError: if it cannot be written.
    """

    def __init__(self, path: Path, kind: np.dtype, key: str) -> None:
        self.path, self.kind = path, kind
        head = MARK + hashlib.sha256(f"{kind.descr} {key}".encode()).digest()
        made_folder(path.parent)
        try:
            self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 -- kept open
            if self._file.read(len(head)) != head:
                self._file.truncate(0)
                self._file.seek(0)
                self._file.write(head)
            self._start = len(head)
            self._count = (os.fstat(self._file.fileno()).st_size - self._start) // kind.itemsize
            self._file.truncate(self._start + self._count * kind.itemsize)
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, records: np.ndarray) -> None:
        """Add one record (no dimension) or several [N].

        Raises
        ------
        OutputError: if they cannot be written; the file then ends with whole records all the same.
        """
        data = np.ascontiguousarray(records, self.kind).tobytes()
        try:
            self._file.seek(self._start + self._count * self.kind.itemsize)
            written = self._file.write(data)
            if written != len(data):
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._count += len(data) // self.kind.itemsize

    def read(self, first: int, stop: int) -> np.ndarray:
        """The records [N] from `first` up to, and without, `stop`; fewer where there are no more."""
        first, stop = max(first, 0), min(stop, self._count)
        if stop <= first:
            return np.zeros(0, self.kind)
        self._file.seek(self._start + first * self.kind.itemsize)
        return np.frombuffer(self._file.read((stop - first) * self.kind.itemsize), self.kind)

    def column(self, name: str, at_once: int = 4096) -> np.ndarray:
        """One field of all records [N, ...], without holding their other fields together."""
        parts = [self.read(first, first + at_once)[name] for first in range(0, self._count, at_once)]
        return np.concatenate(parts) if parts else np.zeros((0, *self.kind[name].shape), self.kind[name].base)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written ({error.strerror}). Is the disk full?")
