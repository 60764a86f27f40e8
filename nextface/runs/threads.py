"""How many CPU threads each part of a run gets.

Torch's own threads and the ray tracer's fight for the same cores: torch steps were seen to become 10 to 50
times slower. So torch runs on one thread, which is enough for arrays of a face's size, and the cores go to
the ray tracer.
"""

from __future__ import annotations

from dataclasses import replace

from nextface.config import Config
from nextface.system.threads import available_cores


def torch_threads(config: Config) -> int:
    """Threads for torch and BLAS: one; where torch draws, what the key `threads` says.

    A second thread saved a tenth of the time on idle cores, and made runs on busy ones five times slower.
    """
    if config.deterministic or not config.draws_with_torch:
        return 1
    return min(config.threads, available_cores()) or 1


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
