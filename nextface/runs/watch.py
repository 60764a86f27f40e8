"""What keeps an eye on a stage: its losses, its last good state, and Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from nextface.errors import Interrupted
from nextface.person.reconstruction import Reconstruction
from nextface.system.interrupts import on_interrupt


class Watch:
    """Keeps a stage's losses and last good state, and turns Ctrl-C into an orderly end.

    Parameters
    ----------
    start: the state before the stage.
    look: called with every iteration's number and state, for debugging.
    """

    def __init__(self, start: Reconstruction, look: Callable[[int, Reconstruction], None]) -> None:
        self.state = start
        self.losses: list[float] = []
        self.interrupted = False
        self._look = look

    def counts(self, advance: Callable[[float], None]) -> Callable[[float], None]:
        """A callback that records a loss and advances the progress bar."""

        def count(loss: float) -> None:
            self.losses.append(loss)
            advance(loss)

        return count

    def keep(self, iteration: int, state: Reconstruction) -> None:
        """Remember the state after an iteration.

        Raises
        ------
        Interrupted: if Ctrl-C was pressed; the iteration is complete.
        """
        self.state = state
        self._look(iteration, state)
        if self.interrupted:
            raise Interrupted("")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first Ctrl-C finish the iteration; the second stops at once, and no further one counts."""
        stopping = False

        def remember(number: int, frame: FrameType | None) -> None:
            nonlocal stopping
            if self.interrupted and not stopping:
                stopping = True
                raise KeyboardInterrupt
            self.interrupted = True

        with on_interrupt(remember):
            yield
