"""UV layouts as maps want them."""

from __future__ import annotations

import torch
from torch import Tensor


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
