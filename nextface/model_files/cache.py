"""What takes long to make of a model's files, kept in the user's cache folder.

A cache file is named after what it was made from, so it never grows stale; a damaged one is made again. The
least recently used are removed when all of them together outgrow a limit.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from nextface.errors import OutputError
from nextface.system.archive import ArchiveError, read_arrays
from nextface.system.atomic import replacing
from nextface.system.paths import cache_folder

MOST_BYTES = 2 << 30  # of all files together; a converted Basel model takes 0.2 GB
Arrays = dict[str, np.ndarray]


def fingerprint(*parts: str | bytes | np.ndarray) -> str:
    """Sixteen hexadecimal digits that change with any of the parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def fingerprint_of_files(paths: Sequence[Path], *parts: str) -> str:
    """The same of files' names and contents.

    Contents are read once, as long as size and time of the files stay the same.

    Raises
    ------
    OSError: a file cannot be read.
    """
    seen = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    known = kept("files", fingerprint(*seen), lambda: {"contents": np.array(_contents(paths))})
    return fingerprint(*parts, known["contents"])


def _contents(paths: Sequence[Path]) -> str:
    contents = []
    for path in (one for one in paths if one.is_file()):  # a folder may stand before its files
        contents += [path.name, checksum(path)]
    return fingerprint(*contents)


def checksum(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits.

    Raises
    ------
    OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def kept(kind: str, key: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays by their names: from the cache if they are there and whole, else made and then kept.

    Parameters
    ----------
    kind: what they are; the first part of the file's name.
    key: changes with all that they are made from (`fingerprint`).
    """
    path = cache_folder() / "models" / f"{kind}-{key}.npz"
    with suppress(OSError, ArchiveError):
        arrays = read_arrays(path)
        os.utime(path)  # it was used
        return arrays
    arrays = make()
    with suppress(OutputError):  # a cache that cannot be written only costs time
        with replacing(path) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]  # not packed: reading it back must be quick
        _make_room(path)
    return arrays


def _make_room(newest: Path) -> None:
    """Remove what was not used for longest, but never the newest."""
    with suppress(OSError):
        files = sorted(newest.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = newest.stat().st_size
        for path in files:
            if path == newest:
                continue
            total += path.stat().st_size
            if total > MOST_BYTES:
                path.unlink()
