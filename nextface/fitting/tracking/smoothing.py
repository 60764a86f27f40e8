"""The most likely course of all unknowns through time, given what every frame says of its own.

Each frame's normal equations are a Gaussian factor of its unknowns. Between frames stands a prior of how they
move: velocities change little within a short time (the continuous white-noise-acceleration model of Bar-Shalom,
Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, section 6.2, without its
correlations within a step). It knows no direction of time, and all frames are solved for at once, as a
smoother's forward and backward passes would: so there is no lag, and no frame is dragged towards an earlier
one. Sudden changes, as lids make, count linearly instead of squared (pseudo-Huber), by reweighting.

Frames need not be evenly spaced. The matrix is banded: cost and memory grow linearly with the frames, and a
film of any length is solved in windows that overlap by more than the prior reaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded

ROUNDS = 4  # of finding out which changes are sudden, and which unknowns end at a bound
SUDDEN = 1.5  # standard deviations, from which on a change of velocity counts linearly
HOLD = 1e6  # by how much an unknown that is held at a bound counts more than anything else says of it
WINDOW, OVERLAP = 128, 24  # frames that are solved for together, and those beyond them on either side


def windows(first: int, stop: int) -> Iterator[tuple[slice, slice]]:
    """Of a take's frames, those to take from a window, and all those that are solved for in it."""
    for start in range(first, stop, WINDOW):
        end = min(start + WINDOW, stop)
        yield slice(start, end), slice(max(start - OVERLAP, first), min(end + OVERLAP, stop))


@dataclass(frozen=True)
class Factors:
    """What T frames say of U unknowns each: x^T A x / 2 - b^T x, to be added up."""

    matrix: np.ndarray  # [T, U, U] A; all 0 where a frame says nothing
    vector: np.ndarray  # [T, U] b


@dataclass(frozen=True)
class MotionPrior:
    """How unknowns move.

    `agility` [U] is the standard deviation of how much a velocity changes within a second, in the unknown's
    unit a second; over other times it grows with their root. `weight` is what a squared standard deviation
    counts.
    """

    agility: np.ndarray
    weight: float

    def rows(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Second differences [T - 2, 3] over frames at `times` [T], and each one's own spread [T - 2].

        A row times three values is their change of velocity; its spread belongs to an agility of 1.
        """
        before, after = np.diff(times)[:-1], np.diff(times)[1:]
        rows = np.stack([1 / before, -1 / before - 1 / after, 1 / after], 1)
        return rows, np.sqrt((before + after) / 2)


def smoothed(
    factors: Factors, times: np.ndarray, prior: MotionPrior, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """The unknowns [T, U] of neighbouring frames that fit everything best, all at once.

    Parameters
    ----------
    times: [T] seconds, rising.
    low, high: [U] bounds.
    """
    count, size = factors.vector.shape
    rows, spread = prior.rows(times) if count > 2 else (np.zeros((0, 3)), np.zeros(0))
    trust = np.ones((len(rows), size))
    held = np.zeros((count, size), bool)
    at = np.zeros((count, size))
    found = at
    for _ in range(ROUNDS):
        precision = prior.weight * trust / (spread[:, None] * prior.agility) ** 2  # [T - 2, U]
        found = _banded(factors, rows, precision, held, at)
        beyond = (found < low) | (found > high)
        changes = sum(rows[:, [place]] * found[place : place + len(rows)] for place in range(3))
        squares = (changes / (spread[:, None] * prior.agility)) ** 2
        trust = (1 + squares / SUDDEN**2) ** -0.5
        held |= beyond
        at = np.where(beyond, found.clip(low, high), at)
    return found.clip(low, high)


def _banded(
    factors: Factors, rows: np.ndarray, precision: np.ndarray, held: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """The minimum [T, U] of the factors and of precision [T - 2, U] times squared second differences / 2."""
    count, size = factors.vector.shape
    width = min(3, count) * size  # the diagonal, and what lies below it, of three frames
    bands = np.zeros((width, count * size))
    by_frame = bands.reshape(width, count, size)
    for below in range(size):
        lower = np.diagonal(factors.matrix, -below, 1, 2)  # [T, U - below]
        by_frame[below, :, : size - below] = lower
    for first in range(3 if len(rows) else 0):
        for second in range(first, 3):
            share = rows[:, [first]] * rows[:, [second]] * precision
            by_frame[(second - first) * size, first : first + len(rows)] += share
    diagonal = by_frame[0]
    scale = np.abs(diagonal).max() or 1.0
    diagonal += 1e-12 * scale  # where nothing is said of an unknown
    vector = factors.vector + np.where(held, HOLD * (diagonal * at), 0)
    diagonal += np.where(held, HOLD * diagonal, 0)
    solved = solveh_banded(bands, vector.ravel(), lower=True, overwrite_ab=True, check_finite=False)
    return solved.reshape(count, size)
