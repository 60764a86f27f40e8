"""The random numbers of a pixel's samples."""

from __future__ import annotations

from typing import Any

import mitsuba as mi

# Steps of PixelSequence, as fractions of 1. No two have a small integer relation: dimensions with one would
# move in step, and noise would not vanish with more samples. Each pair suits a square: Roberts' R2 first, then
# a basis of the cubic field of discriminant 49; the rest are square roots and the golden ratio.
_PAIRS = ((0.7548776662466927, 0.5698402909980532), (0.2469796037174671, 0.5549581320873712), (2**0.5, 3**0.5))
_SINGLES = ((5**0.5 + 1) / 2, 7**0.5)


class PixelSequence:
    """Random numbers in [0, 1) that the samples of one pixel share out evenly.

    Kronecker sequences over a pixel's samples, each turned by an offset that is random by pixel, dimension and
    seed. Every sample is uniform by itself, so estimates stay unbiased; that a pixel's samples avoid each other
    takes noise away. There are three pairs and two singles: for the pixel's square and one bounce.

    Parameters
    ----------
    pixel, index: the pixel of each sample, and the sample's number within it.
    seed: 32 bits.
    """

    def __init__(self, pixel: Any, index: Any, seed: Any) -> None:
        self._index = index
        state, sequence = mi.sample_tea_32(seed, pixel)
        self._offsets = mi.PCG32(initstate=mi.UInt64(state), initseq=mi.UInt64(sequence))
        self._pairs, self._singles = iter(_PAIRS), iter(_SINGLES)

    def next_1d(self) -> Any:
        """One number a sample."""
        return self._next(next(self._singles))

    def next_2d(self) -> Any:
        """A point of the unit square a sample."""
        across, down = next(self._pairs)
        return mi.Point2f(self._next(across), self._next(down))

    def _next(self, step: float) -> Any:
        turned = self._index * round(step % 1 * 2**32) + self._offsets.next_uint32()  # modulo 2^32
        return mi.Float(turned >> 8) * 2.0**-24
