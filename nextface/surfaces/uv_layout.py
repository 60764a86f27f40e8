"""UV layouts as maps want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Place(NamedTuple):
    """A square of a map: its lower left corner and its side."""

    left: float
    low: float
    side: float


def into_unit_square(uvs: Tensor) -> Tensor:
    """UVs [T, 2] of any range in [0, 1], shrunk alike in u and v; charts keep their places to each other.

    Layouts that are there already stay as they are. Tiles (u from 1 to 2 in a second picture) come to lie
    beside each other, so that none covers another.
    """
    low, high = uvs.amin(0), uvs.amax(0)
    if bool((low >= 0).all()) and bool((high <= 1).all()):
        return uvs
    low, high = torch.floor(low), torch.ceil(high)
    return (uvs - low) / (high - low).max()


def placed(
    uvs: NDArray[np.floating],
    uv_triangles: NDArray[np.int64],
    parts: Sequence[tuple[NDArray[np.bool_], Place]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One layout of several parts: UVs [T', 2] and triangles [F, 3] into them.

    Parameters
    ----------
    uvs: [T, 2] of any unit square, a tile; parts may share one, or lie in several.
    uv_triangles: [F, 3]
    parts: of each, which triangles [F] are its, and which square its tile is shrunk to. No triangle is in two.
    """
    squares, triangles, count = [], np.zeros_like(uv_triangles), 0
    for chosen, place in parts:
        used, inverse = np.unique(uv_triangles[chosen], return_inverse=True)
        own = uvs[used]
        tile = np.floor(uvs[uv_triangles[chosen]].mean((0, 1))) if len(used) else np.zeros(2)
        squares.append((own - tile) * place.side + (place.left, place.low))
        triangles[chosen] = inverse.reshape(-1, 3) + count
        count += len(used)
    return np.concatenate(squares).astype(np.float32), triangles
