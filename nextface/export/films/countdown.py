"""Progress of work whose amount is known: how much is done, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from typing import TextIO, TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nextface.system.streams import Lasting

Item = TypeVar("Item")
EVERY = 10.0  # seconds between lines where there is no terminal


def counted_down(items: Collection[Item], name: str, stream: TextIO | None = None) -> Iterator[Item]:
    """The items one after another, while `stream` (default: standard error) tells how far this is.

    A terminal shows a bar, a log gets a line now and then. What is done with an item counts until the next is
    asked for.
    """
    stream = stream or sys.stderr
    if stream is None:  # a process without one
        yield from items
        return
    stream = cast(TextIO, Lasting(stream))
    console = Console(file=stream)
    yield from (_by_bar(items, name, console) if console.is_terminal else _by_lines(items, name, stream))


def _by_bar(items: Collection[Item], name: str, console: Console) -> Iterator[Item]:
    columns = (TextColumn(name), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        yield from bars.track(items, total=len(items))


def _by_lines(items: Collection[Item], name: str, stream: TextIO) -> Iterator[Item]:
    start = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= EVERY:
            said = now
            left = (now - start) / done * (len(items) - done)
            print(f"{name}: {done} of {len(items)}, {left:.0f} s left", file=stream, flush=True)
        yield item
    print(f"{name}: {len(items)} done in {time.monotonic() - start:.0f} s", file=stream, flush=True)
