"""A small table of a batch: what runs, waits, is done, and what failed and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nextface.batch.item import Item, Tried

ROWS = 8  # of what runs, and of what failed last
LONGEST_REASON = 100  # characters
REFRESHED = 1.0  # times a second


class Board:
    """What is known of a batch that is running."""

    def __init__(self, items: int) -> None:
        """Begin with everything waiting."""
        self.items = items
        self.done = self.before = self.failed = self.retried = 0
        self.running: dict[int, tuple[str, float]] = {}  # name, and since when
        self.reasons: list[tuple[str, str]] = []  # name and why, of what failed or is tried again
        self._started = time.monotonic()

    def began(self, number: int, item: Item) -> None:
        """A worker has an item in hand."""
        self.running[number] = (item.name, time.monotonic())

    def again(self, number: int, item: Item, tried: Tried) -> None:
        """An item will be tried again."""
        self.running.pop(number, None)
        self.retried += 1
        self._because(item, f"again later: {tried.outcome.error}")

    def ended(self, number: int, item: Item, tried: Tried) -> None:
        """An item is finished with."""
        self.running.pop(number, None)
        if tried.outcome.status != "done":
            self.failed += 1
            self._because(item, tried.outcome.error or tried.outcome.status)
        elif tried.before:
            self.before += 1
        else:
            self.done += 1

    def line(self) -> str:
        """Everything in a line."""
        waiting = self.items - self.done - self.before - self.failed - len(self.running)
        seconds = time.monotonic() - self._started
        pace = f", {3600 * self.done / seconds:.0f} an hour" if self.done else ""
        return (
            f"{self.items} photos: {self.done} done, {self.before} done before, {self.failed} failed, "
            f"{len(self.running)} running, {waiting} waiting, {self.retried} tried again; {seconds:.0f} s{pace}"
        )

    def __rich__(self) -> Group:
        """The table."""
        table = Table(box=None, pad_edge=False)
        for title in ("photo", "", "why"):
            table.add_column(title, no_wrap=True, overflow="ellipsis")
        now = time.monotonic()
        for name, since in sorted(self.running.values(), key=lambda one: one[1])[:ROWS]:
            table.add_row(Text(name), f"{now - since:.0f} s", "")
        for name, why in self.reasons[-ROWS:]:
            table.add_row(Text(name), "failed" if not why.startswith("again") else "", Text(why))
        return Group(Text(self.line()), table)

    def _because(self, item: Item, why: str) -> None:
        self.reasons.append((item.name, " ".join(why.split())[:LONGEST_REASON]))
        del self.reasons[:-ROWS]


@contextmanager
def shown(board: Board, console: Console) -> Iterator[None]:
    """Show a board on a terminal while something goes on; elsewhere show nothing."""
    if not console.is_terminal:
        yield
        return
    with Live(board, console=console, refresh_per_second=REFRESHED, transient=True):
        yield
