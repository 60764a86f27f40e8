"""Which vertex of a mesh is the mirror image of which, told from where they lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

LARGEST_GAP = 1.5  # mm between a vertex and the mirror image of its partner, on a mean face


def mirror_image(vertices: NDArray[np.floating]) -> NDArray[np.int64] | None:
    """Each vertex's mirror image [V] in x = 0, or None where a vertex [V, 3] (mm) has none.

    Vertices that lie together (the rims of two pieces) may be taken for each other; then nearest points make no
    pairs, and the pairs are made of what is left.
    """
    places = np.asarray(vertices, np.float64)
    gap, partner = cKDTree(places).query(places * [-1, 1, 1])
    if gap.max() > LARGEST_GAP:
        return None
    single = partner[partner] != np.arange(len(places))
    if single.any():
        left = np.flatnonzero(single)
        partner[left] = _paired(places[left], left)
        if not np.array_equal(partner[partner], np.arange(len(places))):
            return None
    return partner.astype(np.int64)


def _paired(places: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Partners among these vertices alone, nearest pairs first."""
    reach = cKDTree(places)
    near = reach.query_ball_point(places * [-1, 1, 1], LARGEST_GAP)
    pairs = sorted(
        (float(np.linalg.norm(places[one] * [-1, 1, 1] - places[other])), one, other)
        for one, others in enumerate(near)
        for other in others
        if one <= other
    )
    partner = np.full(len(places), -1)
    for _, one, other in pairs:
        if partner[one] < 0 and partner[other] < 0:
            partner[one], partner[other] = other, one
    return np.where(partner >= 0, numbers[partner], -1)
