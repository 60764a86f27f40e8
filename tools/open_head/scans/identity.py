"""What people differ in: modes of real scans, what MakeHuman's population adds to them, and smooth changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import smooth_variation, statistics

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

POPULATION, SMOOTH = 50, 100  # components beyond the scans' modes
# Standard deviations of both kinds in units of their own; docs/open_head.md tells by what they were chosen.
POPULATION_SPREAD = 0.5
LEFT = 15.0  # mm by `statistics.beyond`'s measure: how closely the scans' modes follow the population's heads


def scan_components(modes: Array, mirror: Indices, weights: Array) -> Array:
    """The scans' modes [K, C, 3] in another mixture, strongest first.

    Mirror images of the scans are in their statistics: K components hold what modes and mirror images span.
    """
    return statistics.principal_components(modes * np.sqrt(len(modes)), mirror, weights, len(modes))


def components(mean: Array, modes: Array, heads: Array, mirror: Indices, weights: Array, rigid: Array) -> Array:
    """All identity components [K, C, 3], mm a standard deviation, at control points.

    `heads` [N, C, 3] are the population's, `modes` [M, C, 3] the scans'; `weights` [C] say how much a control
    point counts for components, `rigid` [C] for alignment.
    """
    scans = scan_components(modes, mirror, weights)
    offsets = statistics.align(heads, mean, rigid) - mean
    left = statistics.beyond(offsets, scans, weights, LEFT)
    population = statistics.principal_components(left, mirror, weights, POPULATION)
    smooth = smooth_variation.components(mean, mirror, SMOOTH)
    return np.concatenate([scans, POPULATION_SPREAD * population, smooth])
