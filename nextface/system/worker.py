"""The life of a worker process: job after job, until there are no more or the parent is gone."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import Connection
from typing import Any, Generic, Protocol, TypeVar

from nextface.system.interrupts import held_back

Result = TypeVar("Result")
JobIn = TypeVar("JobIn", contravariant=True)
ResultOut = TypeVar("ResultOut", covariant=True)


class Work(Protocol[JobIn, ResultOut]):
    """What a worker does with its jobs, one after another."""

    def __call__(self, job: JobIn) -> ResultOut:
        """Do one job. A KeyboardInterrupt is its own to handle."""
        ...

    def close(self) -> None:
        """Release what was held for the next job."""
        ...


class Ready:
    """What a worker says when its work is made, so that a limit on a job's time need not count a start."""


class Done(Generic[Result]):
    """A result on its way through a pipe, so that any result can be told from none."""

    def __init__(self, value: Result) -> None:
        self.value = value


def serve(channel: int, lifeline: int) -> None:
    """Make the work that the parent sends first, then do job after job.

    Parameters
    ----------
    channel: file descriptor of the connection to the parent.
    lifeline: the reading end of a pipe that only the parent holds open.
    """
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(channel)
    try:
        work: Work[Any, Any] = connection.recv()()
    except EOFError:
        return
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with held_back():
            connection.send(Ready())
        while True:
            result = work(connection.recv())
            with held_back():
                connection.send(Done(result))
    except (EOFError, OSError, KeyboardInterrupt):
        pass
    finally:
        work.close()


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(1)
