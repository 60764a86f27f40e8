"""Cores that there are, and the number of threads that torch and BLAS use for a while."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_blas = threading.Lock()  # held by the block of `limited_threads` that set BLAS's number


def available_cores() -> int:
    """Cores this process may use: its affinity, capped by the container's CPU quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return cores


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Give torch and BLAS so many threads, and the caller's number back.

    torch's number belongs to each thread of the program. BLAS has one for all of them: where blocks overlap in
    several threads, the first sets it and puts it back.
    """
    import torch
    from threadpoolctl import threadpool_limits

    of_torch = torch.get_num_threads()
    is_first = _blas.acquire(blocking=False)
    of_blas = threadpool_limits(threads if is_first else None, user_api="blas")
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(of_torch)
        if is_first:
            of_blas.restore_original_limits()
            _blas.release()
