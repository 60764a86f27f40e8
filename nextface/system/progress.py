"""What a run tells the person who waits: stages with loss and time, counts of things, notes and warnings.

No time left is told of stages: most end when their loss stands still, long before their last iteration. Of
things that are worked on one after another, each of which takes about as long, speed and time left are told.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
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


class Count(Protocol):
    """Things that are worked on one after another."""

    def step(self) -> None:
        """One more is done."""
        ...


class Progress(Protocol):
    """Where a run reports to."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Stage]:
        """A stage of at most `total` iterations; it may end earlier."""
        ...

    def count(self, name: str, done: int, total: int, unit: str) -> AbstractContextManager[Count]:
        """Work on `total` things, of which `done` are done already; `unit` says what they are ("frames")."""
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

    @contextmanager
    def count(self, name: str, done: int, total: int, unit: str) -> Iterator[Count]:
        yield self

    def advance(self, loss: float) -> None:
        pass

    def step(self) -> None:
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

    @contextmanager
    def count(self, name: str, done: int, total: int, unit: str) -> Iterator[Count]:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
        )
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(name, total=total, completed=done, speed="")
            yield _Speed(done, total, unit, lambda now, speed: bars.update(task, completed=now, speed=speed))

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"Warning: {text}", style="yellow", highlight=False, markup=False)


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, loss: float) -> None:
        self._bars.update(self._task, advance=1, loss=f"loss {loss:.4g}")


class _Speed:
    """Counts things, and says how fast they are done and how long the others will take."""

    def __init__(self, done: int, total: int, unit: str, say: Callable[[int, str], None]) -> None:
        self._first, self.done, self._total, self._unit, self._say = done, done, total, unit, say
        self._start = time.monotonic()

    def step(self) -> None:
        self.done += 1
        seconds = max(time.monotonic() - self._start, 1e-6)
        speed = (self.done - self._first) / seconds
        left = max(self._total - self.done, 0) / speed
        self._say(self.done, f"{speed:.1f} {self._unit}/s, {_clock(left)} left")


def _clock(seconds: float) -> str:
    """Seconds as a watch shows them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


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

    @contextmanager
    def count(self, name: str, done: int, total: int, unit: str) -> Iterator[Count]:
        self.note(f"{name}: {total} {unit}" + (f", {done} of them done before" if done else ""))
        start = said = time.monotonic()

        def say(now: int, speed: str) -> None:
            nonlocal said
            if time.monotonic() - said >= self._every:
                said = time.monotonic()
                self.note(f"{name}: {now} of {total} {unit}, {speed}")

        counted = _Speed(done, total, unit, say)
        yield counted
        self.note(f"{name}: {counted.done} {unit} done, {time.monotonic() - start:.0f} s")

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
