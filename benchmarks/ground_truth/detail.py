"""What procedural skin is made of: noise, spots, and soft shapes around landmarks, at points in mm."""

from __future__ import annotations

import numpy as np
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]


def smooth_step(value: Array, low: float | Array, high: float | Array) -> Array:
    """0 below `low`, 1 above `high` (or the reverse when low > high), smooth between."""
    way = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return way * way * (3 - 2 * way)


def gradient_noise(points: Array, size: float | Array, seed: int) -> Array:
    """Smooth noise [V] of unit variance at points [V, 3], with features of about `size` mm (a number or [3]).

    Perlin, "Improving Noise", SIGGRAPH 2002, with random unit gradients instead of twelve fixed ones.
    """
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(256, 3))
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    shuffled = np.tile(random.permutation(256), 2)
    scaled = points / size + random.uniform(0, 256, 3)
    cell = np.floor(scaled).astype(int)
    inside = scaled - cell
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        x, y, z = ((cell + corner) & 255).T
        gradient = gradients[shuffled[shuffled[shuffled[x] + y] + z]]
        weight = np.prod(np.where(corner, fade, 1 - fade), axis=1)
        total += weight * (gradient * (inside - corner)).sum(1)
    return total / 0.19  # its standard deviation over space


def layered_noise(points: Array, sizes: tuple[float, ...], seed: int) -> Array:
    """The mean [V] of noises of several sizes in mm, rescaled to unit variance."""
    layers = [gradient_noise(points, size, seed + number) for number, size in enumerate(sizes)]
    return np.sum(layers, 0) / len(sizes) ** 0.5


def spots(points: Array, centres: Array, radii: Array, strengths: Array) -> Array:
    """The sum [V] of Gaussian spots at points [V, 3].

    Parameters
    ----------
    centres: [S, 3].
    radii: [S], standard deviations in mm.
    strengths: [S], heights.
    """
    total = np.zeros(len(points))
    tree = cKDTree(points)
    for near, centre, radius, strength in zip(
        tree.query_ball_point(centres, 3 * radii), centres, radii, strengths, strict=True
    ):
        away = ((points[near] - centre) ** 2).sum(1)
        total[near] += strength * np.exp(-away / (2 * radius**2))
    return total


def depth_inside(points: Array, outline: Array) -> Array:
    """How far points [V, 2] lie inside a closed outline [K, 2], in mm; negative outside of it."""
    start, along = outline, np.roll(outline, -1, 0) - outline
    nearest = np.full(len(points), np.inf)
    for first, edge in zip(start, along, strict=True):
        way = np.clip(((points - first) @ edge) / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - first - way[:, None] * edge, axis=1))
    return np.where(Outline(outline).contains_points(points), nearest, -nearest)
