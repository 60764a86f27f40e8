"""Rings of edges on quad meshes, and how far along them a point lies: lids and lips are made of such rings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..catmull_clark import unique_edges

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def ring(quads: Indices, start: int, second: int) -> Indices:
    """The vertices of the closed edge loop that starts with the edge from `start` to `second`.

    Raises
    ------
    ValueError: the loop does not close, because it meets an irregular vertex.
    """
    edges, _, _ = unique_edges(quads)
    loop, neighbours = [start, second], {}
    while loop[-1] != start:
        at, before = loop[-1], loop[-2]
        if not neighbours.get(at):
            neighbours[at] = set(edges[(edges == at).any(1)].ravel().tolist()) - {at}
        near = set(quads[(quads == at).any(1) & (quads == before).any(1)].ravel().tolist())
        ahead = neighbours[at] - near
        if len(ahead) != 1 or len(loop) > 500:
            raise ValueError(f"the edges from {start} to {second} are no part of a ring")
        loop.append(ahead.pop())
    return np.array(loop[:-1])


def halves(loop: Indices, positions: Array) -> tuple[Indices, Indices]:
    """The upper and the lower half of a ring, each from its corner of least x to that of greatest x."""
    loop = np.roll(loop, -int(positions[loop, 0].argmin()))
    corner = int(positions[loop, 0].argmax())
    first, second = loop[: corner + 1], np.append(loop[corner:], loop[0])[::-1]
    if positions[first, 1].mean() > positions[second, 1].mean():
        return first, second
    return second, first


def along(curve: Array, fractions: Array) -> Array:
    """Points [N, 3] at fractions [N] of the length of a polyline [M, 3]."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1)))
    return np.stack([np.interp(fractions * length[-1], length, curve[:, axis]) for axis in range(3)], 1)


def fractions(curve: Array) -> Array:
    """How far along a polyline [M, 3] each of its points lies, [M] in [0, 1]."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1)))
    return length / length[-1]
