"""Workers that are killed, that hang, and clusters that are not there: nothing lost, and nothing doubled."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import HELPERS
from diary_work import Diary

from nextface.batch.item import Item, Tried, failed
from nextface.batch.ray_workers import Needs, connected, run_on_ray
from nextface.batch.retries import Began, Crew, with_retries
from nextface.errors import BatchError
from nextface.system.workers import run_in_workers

KILLS = {"processes": 3, "ray": 1}  # Ray takes seconds to start another worker
ITEMS_A_KILL = 3


def lost(item: Item, code: int | None) -> Tried:
    return Tried(failed(item, f"lost with {code}"), again=True)


def late(item: Item) -> Tried:
    return Tried(failed(item, "too late"), again=True)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, _started(patch) as started:
        yield started


def _started(patch: pytest.MonkeyPatch) -> AbstractContextManager[Any]:
    patch.setenv("PYTHONPATH", str(HELPERS))  # where workers find what they do
    return connected("ray", 2, Needs())


@pytest.fixture(params=["processes", "ray"])
def crew_of(request: pytest.FixtureRequest) -> Callable[[Path, float], Crew]:
    """Two workers of this machine's, or of Ray's."""
    cluster = request.getfixturevalue("ray") if request.param == "ray" else None

    def made(folder: Path, limit: float = float("inf")) -> Crew:
        work = partial(Diary, folder)

        def crew(items: Sequence[Item], began: Began) -> Generator[tuple[int, Tried], None, None]:
            if cluster is None:
                return run_in_workers(items, 2, work, lost, began, limit, late)
            return run_on_ray(cluster, items, 2, work, lost, began, limit, late)

        return crew

    return made


@contextmanager
def killing(folder: Path, times: int) -> Iterator[list[int]]:
    """End processes that have an item in hand, at random and without a word; tells whom."""
    chosen, victims, over = random.Random(7), [], threading.Event()

    def kill() -> None:
        while len(victims) < times and not over.wait(0.05):
            busy = sorted(folder.glob("*.pid"))
            if not busy or chosen.random() < 0.5:
                continue
            victim = chosen.choice(busy)
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int(victim.stem), signal.SIGKILL)
                victim.unlink()
                victims.append(int(victim.stem))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield victims
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("crew_of", KILLS, indirect=True)
def test_nothing_is_lost_or_doubled_when_workers_are_killed(
    crew_of: Callable[..., Crew], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = KILLS[request.node.callspec.params["crew_of"]]
    items = [Item(f"{number}.jpg", str(number)) for number in range(ITEMS_A_KILL * kills)]
    again, ended = Counter[int](), Counter[int]()

    def retried(number: int, tried: Tried) -> None:
        again[number] += 1

    with killing(tmp_path, kills) as victims:
        for number, tried in with_retries(crew_of(tmp_path), items, kills + 1, lambda number: None, retried):
            assert tried.outcome.status == "done"
            ended[number] += 1
    assert len(victims) == kills and again.total() >= kills - 1, "one may have died after its last line"
    assert ended == Counter(range(len(items)))
    for item in items:
        assert (tmp_path / item.name).read_text() in ("done\n", "done\ndone\n")


def test_what_hangs_is_ended_and_tried_no_oftener_than_said(
    crew_of: Callable[..., Crew], tmp_path: Path
) -> None:
    items = [Item("a.jpg", "hangs"), Item("b.jpg", "b")]
    tries: list[int] = []
    crew = crew_of(tmp_path, 4.0)
    results = dict(with_retries(crew, items, 2, tries.append, lambda number, tried: None))
    assert results[0].outcome.error == "too late" and results[1].outcome.status == "done"
    assert Counter(tries) == {0: 2, 1: 1}


def test_a_cluster_that_is_not_there_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with (
        pytest.raises(BatchError, match=rf"cluster {address} cannot be reached"),
        connected(address, 1, Needs()),
    ):
        pass
    with pytest.raises(BatchError, match="expected local, ray, HOST:PORT"), connected("somewhere", 1, Needs()):
        pass
    assert time.monotonic() - started < 15


def test_needs_that_no_machine_meets_are_told(ray: Any) -> None:
    from nextface.batch.ray_workers import _has_room

    with pytest.raises(BatchError, match="GPU 64"):
        _has_room(ray, Needs(gpus=64))
