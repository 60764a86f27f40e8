"""Meshes and cameras with closed forms. Model space is y up and z towards the camera."""

from __future__ import annotations

import numpy as np
import torch

from nextface.scene import Camera, Mesh

SIZE = 32
DISTANCE = 600.0  # mm, from the camera to the origin that it looks at


def camera(
    width: int = SIZE,
    height: int | None = None,
    focal: float | None = None,
    principal: tuple[float, float] | None = None,
) -> Camera:
    """A camera of width x height pixels, square where no height is given."""
    height = height or width
    focal = focal if focal is not None else min(width, height) * DISTANCE / 260
    across, down = principal if principal is not None else (width / 2, height / 2)
    return Camera(
        torch.tensor([[[focal, 0, across], [0, focal, down], [0, 0, 1]]]),
        torch.tensor([[np.pi, 0, 0]], dtype=torch.float32),
        torch.tensor([[0, 0, DISTANCE]]),
        width,
        height,
    )


def quad(half_width: float = 80.0, half_height: float = 80.0) -> Mesh:
    """A rectangle that faces the camera; u right, v up."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    vertices = corners * torch.tensor([half_width, half_height, 1])
    normals = torch.tensor([[0.0, 0, 1]]).repeat(4, 1)
    return Mesh(vertices[None], normals[None], triangles, (corners[:, :2] + 1) / 2, triangles)
