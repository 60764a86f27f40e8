"""Heads of any number of vertices, for files in the schemas of other face models: plausible, and nobody's data.

The outer surface is the open head's on a grid, as of `fixture_model`; eyeballs are the open head's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from fixture_model import grid_triangles, scan
from torch import Tensor

from nextface.models.open_head import load_open_head

SHAPE = 0.92  # rows of the grid for each of its columns


@dataclass(frozen=True)
class MadeHead:
    """S vertices of the outer surface first, then those of the left eyeball and of the right one."""

    source: Tensor  # [V, 3] vertices of the open head
    weights: Tensor  # [V, 3]
    triangles: np.ndarray  # [F, 3]
    parts: tuple[int, int, int]  # numbers of vertices: surface, left eye, right eye

    def carried(self, values: Tensor) -> np.ndarray:
        """Values [..., V, C] of the open head's vertices at this one's."""
        return (values[..., self.source, :] * self.weights[..., None]).sum(-2).numpy()

    @property
    def vertices(self) -> np.ndarray:
        """[V, 3] mm"""
        return self.carried(load_open_head().mean)

    def identity(self, count: int) -> np.ndarray:
        """[K, V, 3] mm a standard deviation"""
        return self.carried(load_open_head().identity_basis[:count])

    def expression(self, name: str) -> np.ndarray:
        """[V, 3] mm"""
        head = load_open_head()
        return self.carried(head.expression_basis[head.expression_names.index(name)])

    def diffuse(self) -> np.ndarray:
        """[V, 3] linear albedo."""
        head = load_open_head()
        return self.carried(head.reflectance(torch.zeros(1, head.albedo_size)).diffuse[0])


@cache
def make_head(most: int, eyes: bool) -> MadeHead:
    """A head whose surface has nearly as many vertices as may be."""
    head = load_open_head()
    columns = int((most / SHAPE) ** 0.5 * 1.3)
    while True:
        triangle, weights, kept = scan(head, columns, int(columns * SHAPE))
        if kept.sum() <= most:
            break
        columns -= 2
    source, triangles = head.triangles[triangle], grid_triangles(kept).numpy()
    parts = [len(source)]
    for side in (1, -1) if eyes else ():
        ball = head.regions["sclera"] & (head.mean[:, 0] * side > 0)
        ball |= head.regions["cornea"] & (head.mean[:, 0] * side > 0)
        number = ball.nonzero()[:, 0]
        place = torch.full((len(ball),), -1).index_copy(0, number, torch.arange(len(number)) + len(source))
        inside = head.triangles[ball[head.triangles].all(1)]
        triangles = np.concatenate([triangles, place[inside].numpy()])
        source = torch.cat([source, number[:, None].expand(-1, 3)])
        weights = torch.cat([weights, torch.tensor([[1.0, 0, 0]]).expand(len(number), -1)])
        parts.append(len(number))
    surface, left, right = (*parts, 0, 0)[:3]
    return MadeHead(source, weights, triangles, (surface, left, right))


def around(vertices: np.ndarray) -> np.ndarray:
    """UVs [V, 2] of points [V, 3] around the vertical axis, inside the unit square."""
    angle = np.arctan2(vertices[:, 0], vertices[:, 2])
    height = vertices[:, 1]
    return np.stack([0.5 + 0.15 * angle, 0.05 + 0.9 * (height - height.min()) / np.ptp(height)], 1)
