"""Writing files in one step, so that a reader or an interruption never meets half of one."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from nextface.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody has open cannot be removed: a lock by itself
    fcntl = None  # type: ignore[assignment]

_record: ContextVar[set[Path] | None] = ContextVar("record", default=None)

TEMPORARY = ".nextface-"  # what names of unfinished files and folders begin with
LOCK = ".lock"  # of an unfinished folder, after its name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block succeeds.

    The temporary file is locked as long as it is written. What a process that was killed leaves behind is not,
    and `sweep` removes it.

    Raises
    ------
    OutputError: if the folder cannot be made or written.
    """
    made_folder(path.parent)
    try:
        handle, temporary = _created(path)
    except OSError as error:
        raise _not_written(path.parent, error) from error
    try:
        try:
            yield temporary
        finally:
            os.close(handle)
        os.replace(temporary, path)
        if (record := _record.get()) is not None:
            record.add(path)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise OutputError(f"{path} cannot be written ({reason}). Is the disk full?") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A temporary folder in `folder`, whose files move to there when the block succeeds: all of them or none.

    A file beside it is locked as long as it is needed. What processes that were killed left is removed first.

    Raises
    ------
    OutputError: if the folder cannot be made or written.
    """
    new = not folder.exists()
    made_folder(folder)
    sweep(folder)
    try:
        handle, lock = _created(folder / f"folder{LOCK}")
    except OSError as error:
        raise _not_written(folder, error) from error
    temporary = lock.with_suffix("")
    try:
        made_folder(temporary)
        with recording() as written:
            yield temporary
        for path in sorted(path for path in written if path.is_relative_to(temporary)):
            place = folder / path.relative_to(temporary)
            made_folder(place.parent)
            try:
                os.replace(path, place)
            except OSError as error:
                raise _not_written(place, error) from error
            if (record := _record.get()) is not None:
                record.add(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)
        lock.unlink(missing_ok=True)
        if new:
            with suppress(OSError):
                folder.rmdir()  # fails, and is left, where anything is in it


def made_folder(folder: Path) -> Path:
    """A folder, which is made with those above it where it is missing.

    Raises
    ------
    OutputError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error
    return folder


def _not_written(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"{folder} cannot be written ({error.strerror}). Choose another folder with --output.")


@contextmanager
def recording() -> Iterator[set[Path]]:
    """Every path that `replacing` puts in place within the block, in this thread; inner blocks keep theirs."""
    written: set[Path] = set()
    before = _record.set(written)
    try:
        yield written
    finally:
        _record.reset(before)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left in a folder, and in the folders inside it."""
    found = (*folder.glob(f"{TEMPORARY}*"), *folder.glob(f"*/{TEMPORARY}*"))
    for path in found:
        with suppress(OSError):  # it is being written, or nobody can tell: the file system knows no locks
            handle = os.open(path, os.O_RDWR)
            try:
                _lock(handle)
                path.unlink()
            finally:
                os.close(handle)
    for path in found:
        if path.is_dir() and not path.with_name(f"{path.name}{LOCK}").exists():
            shutil.rmtree(path, ignore_errors=True)


def _created(path: Path) -> tuple[int, Path]:
    """A new empty file beside `path`, open and locked, with the permissions that any new file gets here."""
    while True:
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}{path.suffix}")
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):
            _lock(handle)
        if temporary.exists():
            return handle, temporary
        os.close(handle)  # another process swept it up before it was locked


def _lock(handle: int) -> None:
    """Lock an open file, until it is closed.

    Raises
    ------
    OSError: if somebody else has locked it, or it cannot be locked.
    """
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
