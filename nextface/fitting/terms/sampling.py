"""Where random numbers come from: one place, so that no two renders of a run share their noise."""

from __future__ import annotations

import hashlib


def render_seed(seed: int, iteration: int, photo: int) -> int:
    """A seed in [0, 2^31) for one render of a run, well mixed and the same on every machine.

    Parameters
    ----------
    seed: the run's seed, from the configuration.
    iteration: counts up within a run; stages start from different offsets.
    photo: number of the photo.
    """
    text = f"{seed}/{iteration}/{photo}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1
