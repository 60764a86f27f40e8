"""Laying surfaces on each other, and how far apart they then are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

CANDIDATES = 8  # samples near a point, whose triangles are looked at
STILL = 2e-3  # mm: a step that moves no point further is the last one


@dataclass(frozen=True)
class Similarity:
    """Points to scale * points @ rotation.T + shift."""

    scale: float
    rotation: np.ndarray  # [3, 3]
    shift: np.ndarray  # [3]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.scale * points @ self.rotation.T + self.shift

    def then(self, after: Similarity) -> Similarity:
        """This one first, and then another."""
        return Similarity(
            after.scale * self.scale,
            after.rotation @ self.rotation,
            after.scale * after.rotation @ self.shift + after.shift,
        )

    @classmethod
    def between(cls, points: np.ndarray, targets: np.ndarray, scaled: bool = True) -> Similarity:
        """The least-squares similarity (Umeyama, 1991), or rigid motion, of points to targets, [P, 3] each."""
        a, b = points - points.mean(0), targets - targets.mean(0)
        u, values, vt = np.linalg.svd(b.T @ a)
        flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
        rotation = u @ flip @ vt
        scale = float((values * np.diag(flip)).sum() / (a**2).sum()) if scaled else 1.0
        return cls(scale, rotation, targets.mean(0) - scale * rotation @ points.mean(0))


@dataclass(frozen=True)
class Feet:
    """The places on a surface that are nearest to P points."""

    points: np.ndarray  # [P, 3]
    triangles: np.ndarray  # [P] numbers of the triangles on which they lie

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Distances [P] of the points whose feet these are."""
        return np.asarray(np.linalg.norm(points - self.points, axis=1))


class Surface:
    """A mesh whose nearest points are asked for.

    They are exact on the triangles of the `CANDIDATES` samples nearest to a point, of which every triangle has
    four: its middle and one towards each corner.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        """`vertices` [V, 3], `triangles` [F, 3]."""
        self.corners = vertices[triangles].astype(float)
        weights = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4]], float)
        samples = np.einsum("wk,fkc->fwc", weights / weights.sum(1, keepdims=True), self.corners)
        self._samples_each = len(weights)
        self._tree = cKDTree(samples.reshape(-1, 3))
        normals = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    def nearest(self, points: np.ndarray) -> Feet:
        """The surface's places nearest to points [P, 3]."""
        near = self._tree.query(points, k=CANDIDATES)[1] // self._samples_each
        feet = trimesh.triangles.closest_point(
            self.corners[near.ravel()], np.repeat(points, CANDIDATES, axis=0)
        ).reshape(len(points), CANDIDATES, 3)
        best = np.linalg.norm(feet - points[:, None], axis=-1).argmin(1)
        row = np.arange(len(points))
        return Feet(feet[row, best], near[row, best])

    def barycentric(self, feet: Feet) -> np.ndarray:
        """Weights [P, 3] of the triangles' corners at places on this surface."""
        return np.asarray(trimesh.triangles.points_to_barycentric(self.corners[feet.triangles], feet.points))

    def aligned(
        self,
        points: np.ndarray,
        start: Similarity | None = None,
        scaled: bool = True,
        steps: int = 40,
        kept: float = 0.9,
    ) -> Similarity:
        """The similarity, or rigid motion, that lays points [P, 3] on this surface.

        Iterative closest points, measured along the surface's normals (Chen and Medioni, "Object modelling by
        registration of multiple range images", 1992), over the share `kept` of the points that is nearest.

        Parameters
        ----------
        start: where to begin; without it, where the middle of the points meets the surface nearest to them.
        """
        similarity = start
        if similarity is None:
            shift = self.nearest(points).points.mean(0) - points.mean(0)
            similarity = Similarity(1.0, np.eye(3), shift)
        for _ in range(steps):
            moved = similarity(points)
            feet = self.nearest(moved)
            away = feet.distances(moved)
            near = away <= np.quantile(away, kept)
            step = _along_normals(moved[near], feet.points[near], self.normals[feet.triangles[near]], scaled)
            similarity = similarity.then(step)
            if np.abs(step(moved) - moved).max() < STILL:
                break
        return similarity


def _along_normals(points: np.ndarray, targets: np.ndarray, normals: np.ndarray, scaled: bool) -> Similarity:
    """The small similarity that brings points [P, 3] to the planes through targets [P, 3].

    Distances count in the points' own unit, after division by the scale: otherwise points that fit nowhere
    would be shrunk to a spot.
    """
    middle = points.mean(0)
    centred = points - middle
    gaps = ((targets - points) * normals).sum(1)
    columns = [np.cross(centred, normals), normals]
    if scaled:
        columns.append(((centred * normals).sum(1) + gaps)[:, None])
    solution = np.linalg.lstsq(np.concatenate(columns, 1), gaps, rcond=None)[0]
    rotation = Rotation.from_rotvec(solution[:3]).as_matrix()
    scale = 1.0 + float(solution[6]) if scaled else 1.0
    return Similarity(scale, rotation, middle + solution[3:6] - scale * rotation @ middle)
