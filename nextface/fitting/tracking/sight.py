"""Which points of a head a camera sees past the rest of it, from wherever it looks: a table over directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from nextface.scene.geometry import rotation_matrix
from nextface.scene.raster import rasterize

YAWS, PITCHES = 11, 7  # directions of the table, across and down
WIDEST_YAW, WIDEST_PITCH = math.radians(84), math.radians(56)
SIDE = 80  # pixels of the pictures that tell
HIDDEN_BY = 4.0  # mm of depth that a point may lie behind what its pixel sees


@dataclass(frozen=True)
class Sight:
    """Visibility of P points, as a function of the direction from which the head is looked at."""

    table: Tensor  # [1, P, PITCHES, YAWS] in [0, 1]

    @classmethod
    @torch.no_grad()
    def of(cls, points: Tensor, vertices: Tensor, triangles: Tensor) -> Sight:
        """Of points [P, 3] on a head with vertices [V, 3] and triangles [F, 3], in model space (mm)."""
        middle = (vertices.amax(0) + vertices.amin(0)) / 2
        reach = (vertices - middle).norm(dim=1).amax()
        columns = []
        for pitch in torch.linspace(-WIDEST_PITCH, WIDEST_PITCH, PITCHES).tolist():
            for yaw in torch.linspace(-WIDEST_YAW, WIDEST_YAW, YAWS).tolist():
                turn = rotation_matrix(vertices.new_tensor([pitch, 0, 0])) @ rotation_matrix(
                    vertices.new_tensor([0, -yaw, 0])
                )
                columns.append(
                    _seen((points - middle) @ turn.T, (vertices - middle) @ turn.T, triangles, reach)
                )
        return cls(torch.stack(columns, 1).view(1, -1, PITCHES, YAWS))

    def seen_from(self, direction: Tensor) -> Tensor:
        """How much each point [P] is seen from a direction [3] in model space (towards the camera)."""
        x, y, z = torch.nn.functional.normalize(direction, dim=0)
        yaw, pitch = torch.atan2(x, z) / WIDEST_YAW, torch.asin(y.clamp(-1, 1)) / WIDEST_PITCH
        place = torch.stack([yaw, pitch]).to(self.table).view(1, 1, 1, 2)
        return grid_sample(self.table, place, padding_mode="border", align_corners=True).flatten()


def _seen(points: Tensor, vertices: Tensor, triangles: Tensor, reach: Tensor) -> Tensor:
    """Which points [P] are seen along -z in parallel projection; 0 or 1, smooth to a pixel."""

    def on_picture(places: Tensor) -> Tensor:
        return (places[:, :2] * places.new_tensor([1, -1]) / reach + 1) * (SIDE / 2)

    depth = 2 * reach - vertices[:, 2]
    fragments = rasterize(on_picture(vertices), depth, triangles, SIDE, SIDE)
    nearest = (depth[triangles[fragments.triangle.clamp(min=0)]] * fragments.barycentric).sum(-1)
    nearest = torch.where(fragments.covered, nearest, torch.inf)
    column, row = on_picture(points).long().clamp(0, SIDE - 1).unbind(1)
    return (2 * reach - points[:, 2] <= nearest[row, column] + HIDDEN_BY).to(points)
