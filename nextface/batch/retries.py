"""Lost work is done again, so often and no oftener."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from nextface.batch.item import Item, Tried

Began = Callable[[int], None]
Crew = Callable[[Sequence[Item], Began], Generator[tuple[int, Tried], None, None]]


def with_retries(
    crew: Crew, items: Sequence[Item], tries: int, began: Began, again: Callable[[int, Tried], None]
) -> Generator[tuple[int, Tried], None, None]:
    """Every item's number and last try. What may end otherwise another time is tried again after all others.

    Parameters
    ----------
    crew: does items, and yields each one's place among them and its try.
    began: told an item's number when a worker gets it.
    again: told of a try that is not the last.
    """
    numbers, interrupted = list(range(len(items))), False
    for left in reversed(range(tries)):
        chosen, later = numbers, []

        def told(place: int, chosen: Sequence[int] = chosen) -> None:
            began(chosen[place])

        for place, tried in crew([items[number] for number in chosen], told):
            if tried.outcome.status == "interrupted":
                left, interrupted = 0, True
            if tried.again and left:
                again(chosen[place], tried)
                later.append(chosen[place])
            else:
                yield chosen[place], tried
        numbers = later
        if interrupted or not numbers:
            return
