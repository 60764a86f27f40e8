"""Processes that share out a list of jobs. One that dies costs the job that it worked on, and nothing else."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from types import FrameType
from typing import Generic, TypeVar

from nextface.system.interrupts import on_interrupt
from nextface.system.python import child
from nextface.system.worker import Done, Ready, Work

Job = TypeVar("Job")
Result = TypeVar("Result")
PATIENCE = 10.0  # seconds in which an idle worker must have ended, and every one after a second Ctrl-C
LOOK = 0.5  # seconds between looks at the clock
SLOW_START = 300.0  # seconds in which a worker must have made its work, where jobs have a limit

_PROGRAM = "from nextface.system.worker import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"


def run_in_workers(
    jobs: Sequence[Job],
    workers: int,
    make: Callable[[], Work[Job, Result]],
    lost: Callable[[Job, int | None], Result],
    began: Callable[[int], None] = lambda number: None,
    limit: float = math.inf,
    late: Callable[[Job], Result] | None = None,
) -> Generator[tuple[int, Result], None, None]:
    """Every job's number and result, in the order in which they are done.

    Ctrl-C is handed on to every job in hand, no further job is begun, and the results of those in hand still
    come. So is a second one, after which jobs have some seconds to end; after a third they have none.

    Parameters
    ----------
    make: makes the work, in each worker; it is pickled, as jobs and results are.
    lost: the result of a job whose worker is gone, with the worker's exit code (minus a signal's number), or
        None where Ctrl-C came first.
    began: told each job's number when a worker gets it.
    limit: seconds after which a worker that still has the job is ended; making the work is not counted, but
        has a limit of its own.
    late: the result of a job that took longer; as `lost` where it is left out.
    """
    waiting = deque(enumerate(jobs))
    crew = [_Worker(make) for _ in range(min(workers, len(jobs)))]
    presses = 0
    end = float("inf")  # when jobs in hand are given up

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal presses, end
        presses += 1
        waiting.clear()
        if presses > 1:
            end = time.monotonic() + (PATIENCE if presses == 2 else 0)
        for worker in crew:
            worker.interrupt()

    patience = 0.0
    try:
        with on_interrupt(stop):
            while True:
                for worker in crew:
                    if worker.number is None and waiting:
                        number, job = waiting.popleft()
                        began(number)
                        worker.begin(number, job)
                busy = {worker.connection: worker for worker in crew if worker.number is not None}
                if not busy:
                    break
                for connection in wait(list(busy), LOOK):
                    worker = busy[connection]  # type: ignore[index]
                    result = worker.answer()
                    if isinstance(result, Ready):
                        continue
                    done, worker.number = worker.number, None
                    assert done is not None
                    if result is None:
                        code = worker.close(PATIENCE)
                        crew.remove(worker)
                        if waiting:
                            crew.append(_Worker(make))
                        if worker.late and late is not None and not presses:
                            yield done, late(jobs[done])
                        else:
                            yield done, lost(jobs[done], None if presses else code)
                    else:
                        yield done, result.value
                for worker in crew:
                    worker.late = worker.number is not None and worker.is_over(limit)
                    if worker.late or time.monotonic() >= end:
                        worker.kill()  # which shows when its result is waited for
        patience = PATIENCE
    finally:
        for worker in crew:
            worker.connection.close()  # all of them hear that there is nothing more to do
        for worker in crew:
            worker.close(patience)


class _Worker(Generic[Job, Result]):
    """A process, the pipe to it, and one that it lives no longer than."""

    def __init__(self, make: Callable[[], Work[Job, Result]]) -> None:
        self.connection, theirs = Pipe()
        self.number: int | None = None  # of the job in hand
        self._since = 0.0  # when it was handed over or the work was made, as `time.monotonic` tells
        self._ready = False  # whether the work is made
        self.late = False  # whether it took too long
        lifeline, held = os.pipe()
        self._held: int | None = held  # closed with this process, however it ends
        inherited = (theirs.fileno(), lifeline)
        try:
            with _interrupts_blocked():  # the process begins like that, and listens when it can answer
                self._process = subprocess.Popen(
                    child(_PROGRAM, *map(str, inherited)),
                    stdin=subprocess.DEVNULL,
                    pass_fds=inherited,
                    start_new_session=True,  # a terminal's Ctrl-C goes to the parent, which hands it on
                )
        finally:
            theirs.close()
            os.close(lifeline)
        self._send(make)

    def begin(self, number: int, job: Job) -> None:
        """Hand over a job."""
        self.number, self._since = number, time.monotonic()
        self._send(job)

    def answer(self) -> Ready | Done[Result] | None:
        """That the work is made, or the result of the job in hand; None if the process is gone."""
        try:
            answer: Ready | Done[Result] = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(answer, Ready):
            self._ready, self._since = True, time.monotonic()
        return answer

    def is_over(self, limit: float) -> bool:
        """Tell whether the job in hand, or making the work before it, has taken longer than it may."""
        allowed = limit if self._ready else max(limit, SLOW_START)
        return time.monotonic() >= self._since + allowed

    def interrupt(self) -> None:
        """Hand on a Ctrl-C to the job in hand."""
        if self.number is not None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process at once, if it has a job in hand."""
        if self.number is not None:
            self._process.kill()

    def close(self, patience: float) -> int:
        """End the process, gently for so many seconds, and tell its exit code."""
        self.connection.close()
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._held is not None:
            os.close(self._held)
            self._held = None
        return code

    def _send(self, value: object) -> None:
        with suppress(OSError):  # it is dead, which shows when the result is waited for
            self.connection.send(value)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
