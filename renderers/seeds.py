"""Seeds that have nothing to do with each other."""

from __future__ import annotations

import numpy as np


def derived_seed(*words: int) -> int:
    """A 32-bit seed that mixes non-negative integers: NumPy's SeedSequence over them, first word.

    Different words give unrelated seeds, so photos, passes and the backward pass share no random numbers.
    """
    return int(np.random.SeedSequence(words).generate_state(1)[0])
