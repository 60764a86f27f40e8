"""How many CPU threads each part of a run gets.

Torch's own threads and the ray tracer's fight for the same cores: torch steps were seen to become 10 to 50
times slower. So torch runs on one thread, which is enough for arrays of a face's size, and the cores go to
the ray tracer.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from nextface.config import Config


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
    return config.threads or available_cores()


def share_of_cores(config: Config, workers: int) -> Config:
    """The configuration for one of several processes that work at the same time.

    What the key `threads` says holds for each of them; where it leaves the choice, they share the cores.
    """
    if config.threads or config.draws_with_torch:
        return config
    return replace(config, threads=max(available_cores() // workers, 1))


def limit_threads(config: Config) -> None:
    """Give torch and BLAS one thread; where torch draws, what the key `threads` says.

    A second thread saved a tenth of the time on idle cores, and made runs on busy ones five times slower.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch_draws = config.draws_with_torch and not config.deterministic
    threads = config.threads or 1 if torch_draws else 1
    threadpool_limits(threads)
    torch.set_num_threads(threads)
