"""Whose a result folder is: one photo's (or one person's) at a time, and which files in it are ours.

A hidden file in the folder names the source and lists what was written, with sizes and times. Another source
of the same name is refused rather than mixed in or overwritten. What an earlier run wrote and this one does not
make is removed, unless somebody has changed it since; checkpoints stay, for they can still be gone on from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nextface.errors import OutputError
from nextface.export.files import write_json
from nextface.system.atomic import made_folder, recording

MARK = ".nextface.json"
LOCK = ".nextface.lock"
CHECKPOINTS = "checkpoints"
MARK_SCHEMA_VERSION = 1

Stamp = list[int]  # a file's size in bytes and its time of change in nanoseconds


@dataclass
class Claim:
    """A result folder in one run's hands."""

    folder: Path
    source: Path
    earlier: dict[str, Stamp]  # what earlier runs wrote, by paths in the folder
    written: set[Path] = field(default_factory=set)  # by this run

    def files(self) -> dict[str, Stamp]:
        """Every file in the folder that is ours, and as we left it."""
        inside = {_inside(path, self.folder) for path in self.written}
        kept = {name: stamp for name, stamp in self.earlier.items() if _stamp(self.folder / name) == stamp}
        return kept | {name: stamp for name in inside if name and (stamp := _stamp(self.folder / name))}

    def remove_stale(self) -> list[str]:
        """Remove what earlier runs wrote and this one did not; returns what had been changed, and is left."""
        ours, changed = {_inside(path, self.folder) for path in self.written}, []
        for name, stamp in self.earlier.items():
            path = self.folder / name
            if name in ours or name.startswith(f"{CHECKPOINTS}/") or not path.is_file():
                continue
            if _stamp(path) != stamp:
                changed.append(name)
                continue
            with suppress(OSError):
                path.unlink()
                if path.parent != self.folder:
                    path.parent.rmdir()  # fails, and is left, while anything is in it
        return sorted(changed)


@contextmanager
def claimed(folder: Path, source: Path) -> Iterator[Claim]:
    """Hold a result folder for the results of a photo, or of a folder of one person's photos.

    A folder without our mark is taken: it is empty, of an older version, or the user's, whose files are not
    touched but for those of the names that we write.

    Raises
    ------
    OutputError: if the folder cannot be written, holds the results of another source, or is being written to.
    """
    new = not os.path.exists(folder)  # Path.exists fails for a name that is too long
    made_folder(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"Another run is writing to {folder} now. Wait for its end, or choose another folder with --output."
        ) from None
    except NotImplementedError:
        pass  # a file system without locks
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written ({error.strerror}). Choose another folder with --output."
        ) from error
    claim = Claim(folder, source, {})
    try:
        mark = _read_mark(folder)
        sha256 = _fingerprint(source)
        _check_owner(folder, source, sha256, mark)
        claim.earlier = dict(mark.get("files", {}))
        owner = {"schemaVersion": MARK_SCHEMA_VERSION, "source": _from(folder, source), "sha256": sha256}
        write_json(folder / MARK, {**owner, "files": claim.earlier})
        try:
            with recording() as claim.written:
                yield claim
        finally:
            with suppress(
                OutputError, OSError
            ):  # the disk is full: what is written counts, not this list of it
                if files := claim.files():
                    write_json(folder / MARK, {**owner, "files": files})
                else:
                    (folder / MARK).unlink(missing_ok=True)
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if new:
            with suppress(OSError):
                folder.rmdir()  # fails, and is left, where anything is in it


def our_files(folder: Path) -> frozenset[str]:
    """The files in a result folder that are ours and as we left them, by their paths in it."""
    return frozenset(_read_mark(folder).get("files", {}))


def _check_owner(folder: Path, source: Path, sha256: str | None, mark: dict[str, Any]) -> None:
    if "source" not in mark or mark["source"] == _from(folder, source):
        return
    if sha256 is not None and mark.get("sha256") == sha256:
        return  # the same photo, from somewhere else
    earlier = os.path.normpath(os.path.join(os.path.realpath(folder), mark["source"]))
    if mark.get("sha256") is None and not os.path.exists(earlier) and source.is_dir():
        return  # the photos' folder has moved
    raise OutputError(
        f"{folder} holds the results of {earlier}, not of {source}. Choose another folder with --output, "
        f"or remove {folder} if they are no longer wanted."
    )


def _read_mark(folder: Path) -> dict[str, Any]:
    """What the folder's mark says; nothing where there is none, or none that can be read."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fits = (
        isinstance(mark, dict)
        and mark.get("schemaVersion") == MARK_SCHEMA_VERSION
        and isinstance(mark.get("source"), str)
        and isinstance(mark.get("files"), dict)
    )
    if not fits:
        return {}
    mark["files"] = {name: stamp for name, stamp in mark["files"].items() if _stays_inside(name)}
    return mark


def _stays_inside(name: str) -> bool:
    """Whether a path of the mark, which anybody can write, leads nowhere out of its folder."""
    return not os.path.isabs(name) and ".." not in Path(name).parts


def _from(folder: Path, source: Path) -> str:
    """The source as seen from the folder: right where both are moved, and silent about a home's name."""
    try:
        return os.path.relpath(os.path.realpath(source), os.path.realpath(folder))
    except ValueError:  # another drive
        return os.path.realpath(source)


def _fingerprint(source: Path) -> str | None:
    """SHA-256 of a photo; None for a folder, and where it cannot be read."""
    try:
        if not source.is_file():
            return None
        digest = hashlib.sha256()
        with source.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError:
        return None


def _inside(path: Path, folder: Path) -> str | None:
    """A written path as seen from the folder; None where it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) and path.name != MARK else None


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
