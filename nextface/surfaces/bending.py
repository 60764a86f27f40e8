"""Affine maps over a mesh or graph that agree with their neighbours: what bends a surface without tearing it.

Each control point carries an affine map; neighbours' maps are alike and agree with how the points move
(optimal step non-rigid registration, Amberg, Romdhani, Vetter 2007; the maps of nodes that are not vertices are
those of embedded deformation, Sumner, Schmid, Pauly 2007).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

TWIST = 25.0  # mm^2: how a change of the affine map between neighbours counts against one of an edge


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation [3, 3] and translation [3] that take points [N, 3] nearest to others (Umeyama 1991)."""
    middle, goal = source.mean(0), target.mean(0)
    left, strength, right = np.linalg.svd((target - goal).T @ (source - middle))
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = (strength * sign).sum() / ((source - middle) ** 2).sum()
    return scale, rotation, goal - scale * rotation @ middle


def factorised(system: sparse.csc_matrix) -> SuperLU:
    """A symmetric positive definite system, ready to be solved."""
    return splu(
        system.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )


class Bending:
    """Affine maps at control points that agree with their neighbours: the stiff part of the equations."""

    def __init__(self, rest: Array, edges: Indices) -> None:
        """`rest` [C, 3] mm: the control points; `edges` [E, 2]: which are neighbours."""
        self.count, self.rest = len(rest), rest
        one, other = np.concatenate([edges, edges[:, ::-1]]).T
        step = rest[other] - rest[one]
        row = np.arange(len(one))
        length = np.linalg.norm(step, axis=1)
        weight = np.sqrt(length.mean() / length)
        # Unknowns of every coordinate: positions [C], then rows of the maps [C, 3].
        moved = sparse.csr_matrix(
            (np.concatenate([weight, -weight]), (np.tile(row, 2), np.concatenate([other, one]))),
            (len(row), self.count),
        )
        mapped = sparse.csr_matrix(
            (
                (weight[:, None] * step).ravel(),
                (np.repeat(row, 3), (3 * one[:, None] + np.arange(3)).ravel()),
            ),
            (len(row), 3 * self.count),
        )
        agree = sparse.hstack([moved, -mapped])
        alike = sparse.csr_matrix(
            (
                np.tile([1.0, -1.0], len(edges)),
                (np.repeat(np.arange(len(edges)), 2), edges.ravel()),
            ),
            (len(edges), self.count),
        )
        alike = sparse.kron(alike, sparse.identity(3), "csr")
        nothing = sparse.csr_matrix((alike.shape[0], self.count))
        twist = np.sqrt(TWIST) * sparse.hstack([nothing, alike])
        energy = sparse.vstack([agree, twist]).tocsr()
        self.normal = (energy.T @ energy).tocsc()

    def of_positions(self, rows: sparse.csr_matrix) -> sparse.csr_matrix:
        """Rows [N, 4C] for `solve` of points that are sums of control points by `rows` [N, C]."""
        return sparse.hstack([rows, sparse.csr_matrix((rows.shape[0], 3 * self.count))]).tocsr()

    def of_maps(self, points: Array, nearest: Indices, weights: Array) -> sparse.csr_matrix:
        """Rows [N, 4C] of points [N, 3] at rest that follow the maps of K control points each.

        Parameters
        ----------
        nearest: [N, K] the control points.
        weights: [N, K] how much a point follows each; rows sum to 1.
        """
        row = np.repeat(np.arange(len(points)), nearest.shape[1])
        away = points[row] - self.rest[nearest.ravel()]
        share = weights.ravel()
        columns = self.count + 3 * nearest.ravel()[:, None] + np.arange(3)
        return sparse.csr_matrix(
            (
                np.concatenate([share, (share[:, None] * away).ravel()]),
                (np.concatenate([row, np.repeat(row, 3)]), np.concatenate([nearest.ravel(), columns.ravel()])),
            ),
            (len(points), 4 * self.count),
        )

    def solve(self, stiffness: float, rows: sparse.csr_matrix, weights: Array, points: Array) -> Array:
        """Control points and maps [4C, 3] whose `rows` [N, 4C] come near `points` [N, 3] by `weights` [N].

        The first C are the control points.
        """
        weighted = sparse.diags(weights) @ rows
        system = (stiffness * self.normal + rows.T @ weighted).tocsc()
        # A trace of the identity keeps maps defined where nothing is seen of them.
        trace = sparse.diags(np.full(system.shape[0], 1e-9))
        start = np.concatenate([self.rest, np.tile(np.eye(3), (self.count, 1))])
        return factorised(system + trace).solve(np.asarray(weighted.T @ points + 1e-9 * start))
