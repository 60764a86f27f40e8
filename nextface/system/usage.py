"""What this process and those that it started have used: processor time and memory.

On Linux a child that still runs (redner's worker) counts, too.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024**2  # bytes


@dataclass(frozen=True)
class Usage:
    """What was used since some moment, or between two."""

    seconds: float
    cpu_seconds: float  # of all threads, and of children
    peak_memory: float  # MB, the most that was resident at any time from the process's beginning to the end

    @classmethod
    def now(cls) -> Usage:
        """What was used until now; seconds count from a moment of the system's choice."""
        return cls(time.monotonic(), _cpu_seconds(), _peak_memory())

    def since(self, earlier: Usage) -> Usage:
        """What was used from an earlier moment until this one."""
        return Usage(self.seconds - earlier.seconds, self.cpu_seconds - earlier.cpu_seconds, self.peak_memory)


def _cpu_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    for process in _descendants(os.getpid()):
        with suppress(OSError):  # it has just ended, and counts among the children that have
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own and its ended children's
    return total


def _peak_memory() -> float:
    """An upper bound: the processes' own peaks need not fall together. Memory that they share counts twice.

    Children that have ended do not count. The system's figure for them (ru_maxrss) is wrong: a child starts as
    a copy of its parent, and keeps the parent's size as its own peak however little it then needs.
    """
    own = os.getpid()
    return sum(map(_high_water, (own, *_descendants(own)))) or _most_resident()


def _most_resident() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def _high_water(process: int) -> float:
    """The most memory that a running process has had, in MB; 0 where that is not known."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    return 0.0


def _descendants(process: int) -> Iterator[int]:
    """Children of a process that still run, and theirs; none where the system does not tell."""
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            for child in map(int, thread.read_text().split()):
                yield child
                yield from _descendants(child)
