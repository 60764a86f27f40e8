"""A long list of photos, each of another person, done by many workers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from nextface.batch.item import Item, Tried, failed
from nextface.batch.places import Output, is_remote, listed
from nextface.batch.ray_workers import Needs, connected, run_on_ray
from nextface.batch.retries import Began, Crew, with_retries
from nextface.batch.table import Board
from nextface.batch.work import ItemWork
from nextface.config import Config
from nextface.errors import BatchError, Interrupted
from nextface.export.claim import claimed
from nextface.export.report.index import Outcome, write_index
from nextface.photos.folder import result_names, sidecar
from nextface.runs.threads import share_of_cores
from nextface.system.interrupts import endings_as_interrupts, held_back
from nextface.system.progress import Progress, Silent
from nextface.system.workers import run_in_workers

LOCAL = "local"  # processes of this machine
INDEX_PAUSE = (
    20.0  # times as long as the index took to write, before it is written again: it grows with the list
)


def reconstruct_batch(
    source: str,
    output: str,
    config: Config | None = None,
    *,
    cluster: str = LOCAL,
    workers: int = 1,
    tries: int = 3,
    time_limit: float | None = None,
    needs: Needs | None = None,
    landmarks: Path | None = None,
    mask: Path | None = None,
    progress: Progress | None = None,
    board: Board | None = None,
) -> list[Outcome]:
    """Reconstruct every photo of a list or folder as a person of its own, into `output/<photo's name>`.

    Results and index are those of `nextface.runs.folder_run.reconstruct_folder`. What was done before with the
    same content and settings is not done again. Photos whose worker is lost, or that take too long, are tried
    again.

    Parameters
    ----------
    source: a folder, or a text file with a photo in each line; paths, or URLs that fsspec opens.
    output: a folder or URL. The workers of a cluster must reach both.
    cluster: `local` (processes here), `ray` (a Ray of our own, here), or a Ray cluster's HOST:PORT.
    workers: that work at the same time.
    tries: of a photo, at most.
    time_limit: seconds for one try.
    needs: what a worker asks of its machine, on Ray.
    landmarks, mask: folders, for photos whose landmarks or skin are given.
    board: is kept up to date, for a table.

    Returns
    -------
    What became of each photo, in the order of the list.

    Raises
    ------
    BatchError: if there is no list, or the cluster cannot be reached.
    Interrupted: on Ctrl-C; the same command goes on.
    """
    config, progress = config or Config(), progress or Silent()
    if workers < 1 or tries < 1 or (time_limit is not None and time_limit <= 0):
        raise BatchError("--workers, --tries and --timeLimit must be above 0.")
    photos, others = listed(source)
    items = _items(photos, landmarks, mask)
    board = board or Board(len(items))
    board.items = len(items)
    outcomes = [failed(item, "", status="waiting") for item in items]
    to = Output(output)
    holding = claimed(to.local, Path(source)) if to.local is not None else nullcontext()
    interrupted = False
    with endings_as_interrupts(), holding, _crew(cluster, config, output, workers, time_limit, needs) as crew:
        index = _Index(to, source, [Path(other) for other in others])
        index.write(outcomes)

        def began(number: int) -> None:
            board.began(number, items[number])

        def again(number: int, tried: Tried) -> None:
            board.again(number, items[number], tried)
            progress.warn(f"{items[number].name} is tried again later: {tried.outcome.error}")

        try:
            with closing(with_retries(crew, items, tries, began, again)) as finished:
                for number, tried in finished:
                    with held_back():
                        outcomes[number] = tried.outcome
                        board.ended(number, items[number], tried)
                        index.write_now_and_then(outcomes)
                    progress.note(f"{board.line()}; {tried.outcome.line()}")
        except KeyboardInterrupt:
            interrupted = True
        index.write(outcomes)
    done = sum(outcome.status == "done" for outcome in outcomes)
    if interrupted or any(outcome.status in ("interrupted", "waiting") for outcome in outcomes):
        raise Interrupted(f"Interrupted; {done} of {len(items)} photos are done. The same command goes on.")
    return outcomes


def _items(photos: Sequence[str], landmarks: Path | None, mask: Path | None) -> list[Item]:
    names = result_names([Path(photo) for photo in photos])
    landmarks, mask = (  # workers may stand in another folder
        None if folder is None else folder.absolute() for folder in (landmarks, mask)
    )
    return [
        Item(
            photo if is_remote(photo) else str(Path(photo).absolute()),
            name,
            sidecar(landmarks, Path(photo), ".json", "--landmarks"),
            sidecar(mask, Path(photo), ".png", "--mask"),
        )
        for photo, name in zip(photos, names, strict=True)
    ]


@contextmanager
def _crew(
    cluster: str, config: Config, output: str, workers: int, time_limit: float | None, needs: Needs | None
) -> Iterator[Crew]:
    """Workers of this machine, or of a cluster."""
    limit = float("inf") if time_limit is None else time_limit
    late = partial(_late, limit=limit)
    place = output if is_remote(output) else str(Path(output).absolute())
    if cluster == LOCAL:
        make = partial(ItemWork, share_of_cores(config, workers), place)

        def here(items: Sequence[Item], began: Began) -> Generator[tuple[int, Tried], None, None]:
            return run_in_workers(items, workers, make, _lost, began, limit, late)

        yield here
        return
    needs = needs or Needs()
    with connected(cluster, workers, needs) as ray:
        share = config if config.threads else replace(config, threads=max(int(needs.cpus), 1))
        work = partial(ItemWork, share, place)

        def there(items: Sequence[Item], began: Began) -> Generator[tuple[int, Tried], None, None]:
            return run_on_ray(ray, items, workers, work, _lost, began, limit, late, needs)

        yield there


def _lost(item: Item, code: int | None) -> Tried:
    """The try of a worker that is gone."""
    if code is None:
        return Tried(failed(item, "Interrupted.", status="interrupted"))
    how = f"was killed by signal {-code}" if code < 0 else "was lost"
    return Tried(
        failed(
            item,
            f"The worker that had it {how}. If its machine ran out of memory, use fewer --workers, or ask for "
            "more --memory.",
        ),
        again=True,
    )


def _late(item: Item, limit: float) -> Tried:
    """The try that took too long."""
    return Tried(failed(item, f"It took longer than {limit:g} s (--timeLimit)."), again=True)


class _Index:
    """The index beside the results, which is written now and then: it grows with the list."""

    def __init__(self, output: Output, source: str, others: Sequence[Path]) -> None:
        self._output, self._source, self._others = output, Path(source), others
        self._next = 0.0

    def write(self, outcomes: Sequence[Outcome]) -> None:
        started = time.monotonic()
        with self._output.folder(".") as folder:
            write_index(folder, self._source, outcomes, self._others)
        ended = time.monotonic()
        self._next = ended + INDEX_PAUSE * (ended - started)

    def write_now_and_then(self, outcomes: Sequence[Outcome]) -> None:
        if time.monotonic() >= self._next:
            self.write(outcomes)
