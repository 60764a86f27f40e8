"""Tangents, along which normal maps and anisotropic lobes are told."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def corner_tangents(positions: Tensor, normals: Tensor, uvs: Tensor, triangles: Tensor) -> Tensor:
    """Tangents [P, 4] of corners: unit xyz towards increasing u, at right angles to the normal; a sign w.

    w * cross(normal, xyz) points towards increasing v, which is up in the map. Each triangle's derivative of
    the position by u is weighted with its area, as in Lengyel, "Foundations of Game Engine Development" 2, 7.5.
    A corner whose triangles have no area in the map gets any tangent.

    Parameters
    ----------
    positions, normals: [P, 3], of one frame.
    uvs: [P, 2], u right, v up.
    triangles: [F, 3] int64, corners.
    """
    places, maps = positions.double()[triangles], uvs.double()[triangles]
    edge, other = places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]
    (du, dv), (eu, ev) = (maps[:, 1] - maps[:, 0]).T, (maps[:, 2] - maps[:, 0]).T
    area = du * ev - eu * dv  # twice the signed area in the map; its size would only weight the sums
    side = torch.sign(area)[:, None]
    along_u = side * (ev[:, None] * edge - dv[:, None] * other)
    along_v = side * (du[:, None] * other - eu[:, None] * edge)
    sums = torch.zeros(2, len(positions), 3, dtype=torch.float64)
    size = torch.linalg.cross(edge, other).norm(dim=1, keepdim=True)
    for total, derivative in zip(sums, (along_u, along_v), strict=True):
        weighted = normalize(derivative, dim=1) * size
        for corner in range(3):
            total.index_add_(0, triangles[:, corner], weighted)
    across = normals.double()
    tangents = _upright(sums[0], across)
    lost = tangents.norm(dim=1) < 0.5
    if lost.any():
        axis = torch.eye(3, dtype=torch.float64)[across[lost].abs().argmin(1)]
        tangents[lost] = _upright(axis, across[lost])
    bitangents = torch.linalg.cross(across, tangents)
    sign = torch.where((bitangents * sums[1]).sum(1) < 0, -1.0, 1.0)
    return torch.cat([tangents, sign[:, None]], 1).to(positions)


def _upright(vectors: Tensor, normals: Tensor) -> Tensor:
    """Unit vectors without their part along the normals; zero where nothing is left."""
    left = vectors - (vectors * normals).sum(1, keepdim=True) * normals
    return torch.where(
        left.norm(dim=1, keepdim=True) > 1e-12, normalize(left, dim=1, eps=1e-30), torch.zeros_like(left)
    )
