"""What this process and those that it started have used: processor time and memory.

Children that still run (redner's worker) count, too.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

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
    times = os.times()
    total = time.process_time() + times.children_user + times.children_system
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended, and counts among the children that have
            total += sum(process.cpu_times()[:4])  # its own and its ended children's
    return total


def _peak_memory() -> float:
    """An upper bound: the processes' own peaks need not fall together. Memory that they share counts twice.

    Children that have ended do not count. The system's figure for them (ru_maxrss) is wrong: a child starts as
    a copy of its parent, and keeps the parent's size as its own peak however little it then needs.
    """
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(OSError, psutil.Error):  # it has just ended
            total += _most_resident(process) / MEGABYTE
    return total


def _most_resident(process: psutil.Process) -> float:
    """The most memory that a running process has had, in bytes; what it has now where no more is known."""
    if sys.platform == "linux":
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0.0  # it has ended, and nobody has asked for its exit code
    if sys.platform == "darwin" and process.pid == os.getpid():
        import resource

        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    memory = process.memory_info()
    return float(getattr(memory, "peak_wset", memory.rss))  # Windows knows the peak
