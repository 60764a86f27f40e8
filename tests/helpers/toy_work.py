"""Jobs for worker processes that need no face: in a module of their own, so that workers start quickly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


class ToyWork:
    """Squares numbers. A word is something that happens to the worker, with the times that it must."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where workers leave their process numbers and say that they were closed."""
        self.folder = folder
        (folder / f"{os.getpid()}.pid").touch()

    def __call__(self, job: int | str | tuple[str, int]) -> int | str:
        if isinstance(job, int):
            return job * job
        if job == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(job, tuple):
            return self._stop_after(*job)
        try:
            (self.folder / f"{os.getpid()}.busy").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            return "stopped"
        return "slept"

    def _stop_after(self, word: str, presses: int) -> str:
        """Sleep until Ctrl-C was pressed so often."""
        for press in range(presses):
            try:
                (self.folder / f"{word}.{press}").touch()
                time.sleep(60)
            except KeyboardInterrupt:
                continue
        return f"stopped after {presses}"

    def close(self) -> None:
        (self.folder / f"{os.getpid()}.closed").touch()
