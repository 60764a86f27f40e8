"""Statistics of textures, sampled at a mesh's vertices: as albedo that models keep vertex by vertex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def first_uvs(uvs: Array, uv_triangles: NDArray[np.int64], triangles: NDArray[np.int64], count: int) -> Array:
    """A UV [V, 2] of each of `count` vertices: that of the first corner which uses it, else the middle."""
    found = np.full((count, 2), 0.5, np.float32)
    corners, uv_corners = triangles.ravel()[::-1], uv_triangles.ravel()[::-1]
    found[corners] = uvs[uv_corners]
    return found


def at_vertices(texture: NDArray, uvs: Array) -> Array:
    """Bilinear values [V, C] of a texture [H, W, C], row 0 being v = 1, at UVs [V, 2]."""
    height, width = texture.shape[:2]
    column = np.clip(uvs[:, 0] * width - 0.5, 0, width - 1)
    row = np.clip((1 - uvs[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (column - left)[:, None], (row - top)[:, None]
    upper = texture[top, left] * (1 - across) + texture[top, right] * across
    lower = texture[low, left] * (1 - across) + texture[low, right] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def linear_statistics(mean: NDArray, components: NDArray) -> tuple[Array, Array]:
    """Mean [V, C] and components [A, V, C] of sRGB values in [0, 1] as linear ones, to first order."""
    encoded = np.clip(mean, 0.0, 1.0)
    low = encoded <= 0.04045
    linear = np.where(low, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    slope = np.where(low, 1 / 12.92, 2.4 / 1.055 * ((encoded + 0.055) / 1.055) ** 1.4)
    return linear.astype(np.float32), (components * slope).astype(np.float32)
