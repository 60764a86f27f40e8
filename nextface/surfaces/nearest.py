"""Nearest points of a triangle mesh that face the same way, with their barycentric weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

CANDIDATES = 12  # sampled points near a query, whose triangles are tried
# Where every triangle is sampled: its corners, and four points inside.
SAMPLES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]]
)


def vertex_normals(positions: Array, triangles: Indices) -> Array:
    """Area-weighted unit normals [V, 3]."""
    corners = positions[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(positions)) for axis in range(3)], 1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Found:
    """Points on a surface of V vertices, N of them."""

    points: Array  # [N, 3]
    distance: Array  # [N] mm
    agreement: Array  # [N], cosine between the normals
    faces: Indices  # [N] triangles that they lie in
    barycentric: Array  # [N, 3] weights of these triangles' corners
    weights: sparse.csr_matrix  # [N, V] the same of all vertices


class Surface:
    """A triangle mesh that finds points near others."""

    def __init__(self, positions: Array, triangles: Indices) -> None:
        self.positions, self.triangles = positions, triangles
        self.normals = vertex_normals(positions, triangles)
        corners = positions[triangles]
        self._tree = cKDTree(np.einsum("sk,fkd->fsd", SAMPLES, corners).reshape(-1, 3))

    def nearest(self, queries: Array, normals: Array, turned: float = 0.3, penalty: float = 4.0) -> Found:
        """The nearest point to each query [N, 3] among triangles that face as it does.

        Triangles whose normal has a cosine below `turned` with the query's count as `penalty` times as far.
        """
        from trimesh.triangles import closest_point, points_to_barycentric  # a third of a second, seldom needed

        candidates = min(CANDIDATES, self._tree.n)
        _, sampled = self._tree.query(queries, np.arange(1, candidates + 1))
        faces = sampled // len(SAMPLES)
        number = np.repeat(np.arange(len(queries)), candidates)
        corners = self.positions[self.triangles[faces.ravel()]]
        points = closest_point(corners, queries[number])
        barycentric = np.clip(np.nan_to_num(points_to_barycentric(corners, points)), 0, 1)
        barycentric /= np.maximum(barycentric.sum(1, keepdims=True), 1e-12)
        facing = np.einsum("nk,nkd->nd", barycentric, self.normals[self.triangles[faces.ravel()]])
        facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
        agreement = (facing * normals[number]).sum(1).reshape(faces.shape)
        distance = np.linalg.norm(points - queries[number], axis=1).reshape(faces.shape)
        best = (np.where(agreement < turned, penalty, 1.0) * (distance + 0.05)).argmin(1)
        row = np.arange(len(queries))
        chosen = row * candidates + best
        corner = self.triangles[faces[row, best]]
        weights = sparse.csr_matrix(
            (barycentric[chosen].ravel(), (np.repeat(row, 3), corner.ravel())),
            shape=(len(queries), len(self.positions)),
        )
        return Found(
            points[chosen],
            distance[row, best],
            agreement[row, best],
            faces[row, best],
            barycentric[chosen],
            weights,
        )
