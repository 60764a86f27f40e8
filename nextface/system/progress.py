"""What a run tells the person who waits: stages with loss and time, notes and warnings.

No time left is told: most stages end when their loss stands still, long before their last iteration.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from nextface.system.streams import Lasting


class Stage(Protocol):
    """A stage that is running."""

    def advance(self, loss: float) -> None:
        """One more iteration is done; `loss` is its loss."""
        ...


class Progress(Protocol):
    """Where a run reports to."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """A stage of at most `total` iterations; it may end earlier."""
        ...

    def note(self, text: str) -> None:
        """Something good to know."""
        ...

    def warn(self, text: str) -> None:
        """Something that makes the result worse than it could be."""
        ...


class Silent:
    """Reports nothing."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        yield self

    def advance(self, loss: float) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Bars:
    """Progress bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
            TimeElapsedColumn(),
        )
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(name, total=total, loss="")
            yield _Bar(bars, task)
            done = bars.tasks[0].completed
            bars.update(task, total=done, completed=done)

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"Warning: {text}", style="yellow", highlight=False, markup=False)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, loss: float) -> None:
        self._bars.update(self._task, advance=1, loss=f"loss {loss:.4g}")


class Lines:
    """Plain lines for logs and pipes: at the start of a stage, every `every` seconds, and at its end."""

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream, self._every = stream, every

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        line = _Line(self, name, total, self._every)
        self.note(f"{name}: up to {total} iterations")
        yield line
        self.note(f"{name}: done after {line.done} iterations, {line.seconds():.0f} s, loss {line.loss:.4g}")

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        self.note(f"Warning: {text}")


class _Line:
    def __init__(self, lines: Lines, name: str, total: int, every: float) -> None:
        self._lines, self._name, self._total, self._every = lines, name, total, every
        self._start = self._said = time.monotonic()
        self.done, self.loss = 0, float("nan")

    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._start

    def advance(self, loss: float) -> None:
        self.done, self.loss = self.done + 1, loss
        if time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            self._lines.note(
                f"{self._name}: {self.done} of at most {self._total}, {self.seconds():.0f} s, loss {loss:.4g}"
            )


def on_screen(stream: TextIO | None = None) -> Progress:
    """Bars where `stream` (default: standard error) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    if stream is None:  # a process without one, as services and windowed programs may be
        return Silent()
    stream = cast(TextIO, Lasting(stream))
    console = Console(file=stream)
    return Bars(console) if console.is_terminal else Lines(stream)
