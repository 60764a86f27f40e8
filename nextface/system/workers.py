"""Processes that share out a list of jobs. One that dies costs the job that it worked on, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from types import FrameType
from typing import Generic, Protocol, TypeVar

from nextface.system.interrupts import on_interrupt

Job = TypeVar("Job")
Result = TypeVar("Result")
JobIn = TypeVar("JobIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)

PATIENCE = 10.0  # seconds in which an idle worker must have ended


class Work(Protocol[JobIn, ResultOut]):
    """What a worker does with its jobs, one after another."""

    def __call__(self, job: JobIn) -> ResultOut:
        """Do one job. A KeyboardInterrupt is its own to handle."""
        ...

    def close(self) -> None:
        """Release what was held for the next job."""
        ...


def run_in_workers(
    jobs: Sequence[Job],
    workers: int,
    make: Callable[[], Work[Job, Result]],
    lost: Callable[[Job, int | None], Result],
) -> Iterator[tuple[int, Result]]:
    """Every job's number and result, in the order in which they are done.

    Ctrl-C is handed on to every job in hand, no further job is begun, and the results of those in hand still
    come; a second one ends everything at once.

    Parameters
    ----------
    make: makes the work, in each worker; it is pickled, as jobs and results are.
    lost: the result of a job whose worker is gone, with the worker's exit code (minus a signal's number), or
        None where Ctrl-C came first.
    """
    context = multiprocessing.get_context("spawn")
    waiting = deque(enumerate(jobs))
    crew = [_Worker(context, make) for _ in range(min(workers, len(jobs)))]
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        waiting.clear()
        for worker in crew:
            worker.interrupt()

    patience = 0.0
    try:
        with on_interrupt(stop):
            while True:
                for worker in crew:
                    if worker.number is None and waiting:
                        number, job = waiting.popleft()
                        worker.begin(number, job)
                busy = {worker.connection: worker for worker in crew if worker.number is not None}
                if not busy:
                    break
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    done = worker.number
                    assert done is not None
                    result = worker.finish()
                    if result is None:
                        code = worker.close(PATIENCE)
                        crew.remove(worker)
                        if waiting:
                            crew.append(_Worker(context, make))
                        yield done, lost(jobs[done], None if stopping else code)
                    else:
                        yield done, result.value
        patience = PATIENCE
    finally:
        for worker in crew:
            worker.connection.close()  # all of them hear that there is nothing more to do
        for worker in crew:
            worker.close(patience)


class _Done(Generic[Result]):
    """A result on its way through a pipe, so that any result can be told from none."""

    def __init__(self, value: Result) -> None:
        self.value = value


class _Worker(Generic[Job, Result]):
    """A process and the pipe to it."""

    def __init__(self, context: SpawnContext, make: Callable[[], Work[Job, Result]]) -> None:
        self.connection, theirs = context.Pipe()
        self.number: int | None = None  # of the job in hand
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        with _interrupts_blocked():  # the process begins like that, and listens when it can answer
            self._process.start()
        theirs.close()

    def begin(self, number: int, job: Job) -> None:
        """Hand over a job."""
        self.number = number
        with suppress(OSError):  # it is dead, which shows when the result is waited for
            self.connection.send(job)

    def finish(self) -> _Done[Result] | None:
        """The result of the job in hand; None if the process is gone."""
        self.number = None
        try:
            result: _Done[Result] = self.connection.recv()
        except (EOFError, OSError):
            return None
        return result

    def interrupt(self) -> None:
        """Hand on a Ctrl-C to the job in hand."""
        pid = self._process.pid
        if self.number is not None and pid is not None and self._process.is_alive():
            os.kill(pid, signal.SIGINT)

    def close(self, patience: float) -> int | None:
        """End the process, gently for so many seconds, and tell its exit code."""
        self.connection.close()
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


def _serve(connection: Connection, make: Callable[[], Work[Job, Result]]) -> None:
    """A worker's life: job after job, until there are no more or the parent is gone."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the parent alone, which hands it on once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = make()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while True:
            connection.send(_Done(work(connection.recv())))
    except (EOFError, KeyboardInterrupt):
        pass
    finally:
        work.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
