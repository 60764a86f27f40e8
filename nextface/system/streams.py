"""Standard output and standard error: silenced for a while, and outlived where their reader has gone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

_lock = threading.Lock()
_silences = 0  # how many blocks of `quiet_stderr` are being run, in all threads
_saved: int | None = None  # a duplicate of the real standard error, as long as there are any


class Lasting:
    """A text stream that swallows what is written once its reader is gone or its terminal closed.

    A run goes on when `| head` has seen enough; what it found is in files.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, if anybody reads it."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed on this side
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if anybody reads it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _let_go(self) -> None:
        """Lead what still waits to be written nowhere, so that nothing complains when the process ends."""
        with suppress(OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self._stream.fileno())
            os.close(sink)


def outlive_readers() -> None:
    """Make this process's standard output and standard error lasting ones, and open where they were closed."""
    for number in (0, 1, 2):  # a file that is opened later must not take such a number
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end
        if not isinstance(stream, Lasting):
            setattr(sys, name, Lasting(stream))


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to file descriptor 2; in several threads, until the last is done."""
    global _silences, _saved
    with _lock:
        if not _silences:
            _saved = _redirected()
        _silences += 1
    try:
        yield
    finally:
        with _lock:
            _silences -= 1
            if not _silences and _saved is not None:
                os.dup2(_saved, 2)
                os.close(_saved)
                _saved = None


def _redirected() -> int | None:
    """Lead descriptor 2 to the null device, and return where it led before; None where it was closed."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:
        return None
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    os.close(sink)
    return saved
