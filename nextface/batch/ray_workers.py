"""Workers on a Ray cluster, with the surface of `nextface.system.workers.run_in_workers`.

Each worker is an actor, which loads model and renderer once. This process holds the list: it hands out one job
at a time to each, and hands out again what a lost actor had (`nextface.batch.retries`). So Ray's own retries
are off, and a job is never in two hands, unless a machine that was thought lost comes back; what it then
writes is the same.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from nextface.errors import BatchError, MissingPartError
from nextface.system.worker import Work

Job = TypeVar("Job")
Result = TypeVar("Result")
HERE = "ray"  # a Ray of our own on this machine
LOOK = 0.5  # seconds between looks at the clock
PATIENCE = 10.0  # seconds in which a cluster's head must answer
STORE = 100 * 2**20  # bytes of a Ray of our own for jobs and results, which are small
MOST_FAILED_STARTS = 3  # of workers in a row, after which the cluster is given up


@dataclass(frozen=True)
class Needs:
    """What a worker asks of its machine."""

    cpus: float = 1.0
    memory: float | None = None  # bytes
    gpus: float = 0.0


@contextmanager
def connected(address: str, workers: int, needs: Needs) -> Iterator[Any]:
    """A connection to a cluster at `ADDRESS:PORT` or `ray://ADDRESS:PORT`, or a Ray of our own (`ray`).

    Parameters
    ----------
    workers, needs: what a Ray of our own has room for.

    Raises
    ------
    MissingPartError: if Ray is not here.
    BatchError: if the cluster cannot be reached, or no machine of it has what a worker needs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingPartError(
            "Batches on a cluster are run by Ray, which is not installed: pip install 'nextface[cluster]'."
        ) from None
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == HERE:
            ray.init(
                address="local",  # a Ray of our own, whatever else runs here
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                num_cpus=max(math.ceil(workers * needs.cpus), 1),
                object_store_memory=STORE,
                **quiet,
            )
        else:
            _reached(address)
            ray.init(address=address, **quiet)
    except BatchError:
        raise
    except Exception as error:  # of Ray's, which raises plain ones, too
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BatchError(
            f"The cluster {address} cannot be reached: {first.rstrip('.')}. Check the address, that `ray start "
            "--head` runs there, and that its Ray and Python are of the versions here."
        ) from None
    try:
        _has_room(ray, needs)
        yield ray
    finally:
        ray.shutdown()


def _has_room(ray: Any, needs: Needs) -> None:
    """Refuse what no machine of the cluster has: a worker would wait for it for ever."""
    asked = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory or 0.0}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(have.get(name, 0.0) >= much for name, much in asked.items()) for have in machines):
        wanted = ", ".join(f"{name} {much:g}" for name, much in asked.items() if much)
        raise BatchError(f"No machine of the cluster has what a worker needs: {wanted}.")


def _reached(address: str) -> None:
    """Look whether anybody answers, which Ray itself finds out very slowly."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise BatchError(f"--cluster {address}: expected local, ray, HOST:PORT or ray://HOST:PORT.")
    socket.create_connection((host, int(port)), PATIENCE).close()


class _Actor:
    """What lives in a worker's process."""

    def __init__(self, make: Callable[[], Work[Any, Any]]) -> None:
        self._work = make()

    def ready(self) -> bool:
        return True

    def do(self, job: Any) -> Any:
        return self._work(job)


@dataclass
class _Worker:
    actor: Any
    pending: Any  # what it will answer next: that it is ready, or a result
    number: int | None = None  # of the job in hand
    since: float = 0.0


def run_on_ray(
    ray: Any,
    jobs: Sequence[Job],
    workers: int,
    make: Callable[[], Work[Job, Result]],
    lost: Callable[[Job, int | None], Result],
    began: Callable[[int], None] = lambda number: None,
    limit: float = math.inf,
    late: Callable[[Job], Result] | None = None,
    needs: Needs = Needs(),
) -> Generator[tuple[int, Result], None, None]:
    """Every job's number and result, in the order in which they are done; see `run_in_workers`.

    Ctrl-C ends the actors, and raises KeyboardInterrupt here.

    Parameters
    ----------
    ray: as `connected` gives it.
    lost: gets 0 in place of an exit code, which Ray does not tell.

    Raises
    ------
    BatchError: if workers cannot be started.
    """
    waiting = deque(enumerate(jobs))
    options = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_restarts": 0, "max_task_retries": 0}
    if needs.memory is not None:
        options["memory"] = int(needs.memory)
    remote = ray.remote(**options)(_Actor)
    failed_starts = 0

    def started() -> _Worker:
        actor = remote.remote(make)
        return _Worker(actor, actor.ready.remote())

    crew = [started() for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(worker.number is not None for worker in crew):
            by_answer = {worker.pending: worker for worker in crew}
            answered, _ = ray.wait(list(by_answer), timeout=LOOK)
            for answer in answered:
                worker = by_answer[answer]
                number = worker.number
                try:
                    value = ray.get(answer)
                except ray.exceptions.RayError as error:
                    crew.remove(worker)
                    if number is None:
                        failed_starts += 1
                        if failed_starts >= MOST_FAILED_STARTS:
                            raise BatchError(f"Workers cannot be started on the cluster: {error}") from None
                    if waiting:
                        crew.append(started())
                    if number is not None:
                        yield number, lost(jobs[number], 0)
                    continue
                failed_starts = 0
                worker.number = None
                if waiting:
                    worker.number, job = waiting.popleft()
                    worker.since = time.monotonic()
                    began(worker.number)
                    worker.pending = worker.actor.do.remote(job)
                else:
                    crew.remove(worker)
                    ray.kill(worker.actor)
                if number is not None:
                    yield number, value
            for worker in list(crew):
                number = worker.number
                if number is not None and time.monotonic() >= worker.since + limit:
                    crew.remove(worker)
                    ray.kill(worker.actor)
                    if waiting:
                        crew.append(started())
                    yield number, late(jobs[number]) if late is not None else lost(jobs[number], 0)
    finally:
        for worker in crew:
            ray.kill(worker.actor)
