"""What Ctrl-C does for a while, and what asks a process to end: SIGTERM, and SIGHUP of a closed terminal."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]

_ours: list[Handler] = []  # handlers that stand at present, the innermost last


@contextmanager
def on_interrupt(handler: Handler) -> Iterator[None]:
    """Call a handler on Ctrl-C, and where the process is asked to end and nobody else handles that.

    Beside the main thread, signals are somebody else's business.
    """
    with _handled((signal.SIGINT, *_endings()), handler):
        yield


@contextmanager
def endings_as_interrupts() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, instead of ending the process at once."""
    with _handled(_endings(), signal.default_int_handler):
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C and its like wait until the block is done."""
    waiting: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    with on_interrupt(wait):
        yield
    if waiting:
        signal.raise_signal(waiting[0])


def _endings() -> tuple[int, ...]:
    """Signals that would end this process without a word: not those that it ignores (nohup) or handles."""
    numbers = (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP"))
    free = (signal.SIG_DFL, signal.default_int_handler, *_ours)
    return tuple(number for number in numbers if number is not None and signal.getsignal(number) in free)


@contextmanager
def _handled(numbers: tuple[int, ...], handler: Handler) -> Iterator[None]:
    with ExitStack() as undo:
        for number in numbers:
            try:
                undo.callback(signal.signal, number, signal.signal(number, handler))
            except ValueError:  # not in the main thread
                break
        _ours.append(handler)
        undo.callback(_ours.remove, handler)
        yield
