"""Somebody who presses Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from nextface.system.progress import Silent, Stage


class PressesCtrlC(Silent):
    """Sends this process a SIGINT in the first iteration of a stage."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = ""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        self.running = name
        yield self

    def advance(self, loss: float) -> None:
        if self.running.startswith(self.name):
            self.running = ""
            signal.raise_signal(signal.SIGINT)
