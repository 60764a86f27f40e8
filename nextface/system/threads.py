"""How many CPU threads each part of a run gets.

Torch's own threads and the ray tracer's fight for the same cores: torch steps were seen to become 10 to 50
times slower. So torch runs on one thread, which is enough for arrays of a face's size, and the cores go to
the ray tracer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nextface.config import Config

_blas = threading.Lock()  # held by the block of `limited_threads` that set BLAS's number


def available_cores() -> int:
    """Cores this process may use: its affinity, capped by the container's CPU quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return cores


def renderer_threads(config: Config) -> int:
    """Threads for the renderer: one when the run must be deterministic, else what the key `threads` says."""
    if config.deterministic:
        return 1
    return min(config.threads, available_cores()) or available_cores()


def share_of_cores(config: Config, workers: int) -> Config:
    """The configuration for one of several processes that work at the same time.

    What the key `threads` says holds for each of them; where it leaves the choice, they share the cores.
    """
    if config.threads or config.draws_with_torch:
        return config
    return replace(config, threads=max(available_cores() // workers, 1))


def excess_of_threads(config: Config) -> str | None:
    """What to tell about a key `threads` that says more than there are cores; they are not all used."""
    cores = available_cores()
    if config.threads <= cores or config.deterministic:
        return None
    return (
        f"threads = {config.threads}, but this process may use {cores} core{'s' * (cores > 1)}: {cores} "
        f"thread{'s' * (cores > 1)} will do. More would wait for each other."
    )


@contextmanager
def limited_threads(config: Config) -> Iterator[None]:
    """Give torch and BLAS one thread; where torch draws, what the key `threads` says. Not for longer than that.

    A second thread saved a tenth of the time on idle cores, and made runs on busy ones five times slower.
    torch's number belongs to each thread of the program. BLAS has one for all of them: where blocks overlap in
    several threads, the first sets it and puts it back.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch_draws = config.draws_with_torch and not config.deterministic
    threads = min(config.threads, available_cores()) or 1 if torch_draws else 1
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
