"""Errors that do not count what a photo cannot tell: one overall factor."""

from __future__ import annotations

import numpy as np


def best_gain(found: np.ndarray, true: np.ndarray) -> float:
    """The factor of `found` that comes nearest to `true`, arrays of one shape, in the least-squares sense."""
    return float((found * true).sum() / np.maximum((found**2).sum(), np.finfo(float).tiny))


def relative_error(found: np.ndarray, true: np.ndarray) -> float:
    """Root mean square error over the truth's root mean square, after one gain: at most 1."""
    return float(np.linalg.norm(best_gain(found, true) * found - true) / np.linalg.norm(true))
