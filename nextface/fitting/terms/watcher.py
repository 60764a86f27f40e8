"""What a stage tells while it runs, so that somebody can watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nextface.person.reconstruction import Reconstruction


@dataclass(frozen=True)
class Watcher:
    """Whom a stage reports to; nobody, unless told otherwise.

    Both may raise, which ends the stage.
    """

    on_loss: Callable[[float], None] = lambda loss: None  # after each evaluation or step
    on_state: Callable[[int, Reconstruction], None] = lambda step, state: None  # each step's number and state
