"""Injective maps of triangle meshes into a rectangle: a Tutte embedding, then less and less distortion.

Tutte, "How to draw a graph", 1963, gives a start without overlaps on a convex outline. Rabinovich, Poranne,
Panozzo, Sorkine-Hornung, "Scalable locally injective mappings", 2017, then lowers the symmetric Dirichlet
energy by reweighted least squares, with a line search that never lets a triangle flip.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def tutte(triangles: Indices, count: int, fixed: Indices, places: Array) -> Array:
    """Positions [count, 2] with each free vertex at its neighbours' mean and `fixed` vertices at `places`."""
    edges = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1), axis=0)
    ends = np.concatenate([edges, edges[:, ::-1]])
    adjacency = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    laplacian = (sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tocsc()
    free = np.setdiff1d(np.arange(count), fixed)
    result = np.zeros((count, 2))
    result[fixed] = places
    result[free] = spsolve(laplacian[free][:, free], -laplacian[free][:, fixed] @ places)
    return result


def _flat_triangles(corners: Array) -> Array:
    """The edge matrices [F, 2, 2] of 3D triangles [F, 3, 3] laid into a plane."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(first, axis=1)
    along = (first * second).sum(1) / length
    height = np.linalg.norm(np.cross(first, second), axis=1) / length
    return np.stack([np.stack([length, along], 1), np.stack([np.zeros_like(along), height], 1)], 1)


def _energy(jacobians: Array, weights: Array) -> float:
    determinant = np.linalg.det(jacobians)
    if (determinant <= 0).any():
        return np.inf
    squares = (jacobians**2).sum((1, 2))
    return float((weights * (squares + squares / determinant**2)).sum())


def _longest_step(edges: Array, moves: Array) -> float:
    """The first step at which a triangle of edge matrices [F, 2, 2] collapses when moved along `moves`."""
    a = np.linalg.det(moves)
    b = edges[:, 0, 0] * moves[:, 1, 1] + moves[:, 0, 0] * edges[:, 1, 1]
    b -= edges[:, 0, 1] * moves[:, 1, 0] + moves[:, 0, 1] * edges[:, 1, 0]
    c = np.linalg.det(edges)
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
    q = -(b + np.where(b >= 0, root, -root)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([q / a, c / q])
    real = (b * b - 4 * a * c >= 0) & np.isfinite(roots) & (roots > 0)
    return float(np.where(real, roots, np.inf).min())


def relax(
    start: Array, triangles: Indices, corners: Array, weights: Array, held: NDArray[np.bool_], iterations: int
) -> Array:
    """Positions [V, 2] near the minimum of the symmetric Dirichlet energy, without a flipped triangle.

    `corners` [F, 3, 3] are the triangles' wanted shapes in space, `weights` [F] their importance;
    coordinates `held` [V, 2] keep their start value.
    """
    count = len(start)
    inverse = np.linalg.inv(_flat_triangles(corners))
    gradient = np.concatenate([-inverse.sum(1, keepdims=True), inverse], 1)  # [F, 3 corners, 2]
    rows = np.repeat(np.arange(2 * len(triangles)), 3)
    columns = np.repeat(triangles, 2, axis=0).ravel()
    operator = sparse.csr_matrix(
        (gradient.transpose(0, 2, 1).ravel(), (rows, columns)), (2 * len(triangles), count)
    )
    zero = sparse.csr_matrix(operator.shape)
    both = sparse.bmat([[operator, zero], [zero, operator]]).tocsr()  # J[f, i, j] at row i * 2F + 2f + j
    free = np.flatnonzero(~held.T.ravel())
    if not np.isfinite(_energy((both @ start.T.ravel()).reshape(2, -1, 2).transpose(1, 0, 2), weights)):
        raise ValueError("the start holds a flipped triangle")
    position = start.copy()
    for _ in range(iterations):
        jacobians = (both @ position.T.ravel()).reshape(2, -1, 2).transpose(1, 0, 2)
        left, singular, right = np.linalg.svd(jacobians)
        rotation = left @ right  # no flips: the determinant is positive
        gap = np.where(abs(singular - 1) < 1e-6, 1.0, singular - 1)
        pull = np.where(abs(singular - 1) < 1e-6, 4.0, (singular - singular**-3) / gap)
        metric = left @ (np.sqrt(pull)[:, :, None] * left.transpose(0, 2, 1)) * np.sqrt(weights)[:, None, None]
        mixing = sparse.bmat(
            [[sparse.diags(np.repeat(metric[:, i, k], 2)) for k in range(2)] for i in range(2)]
        ).tocsr()
        system = (mixing @ both).tocsc()
        target = (metric @ rotation).transpose(1, 0, 2).ravel()
        residual = target - system @ position.T.ravel()
        part = system[:, free]
        normal = (part.T @ part).tocsc()
        normal += sparse.identity(len(free)) * (1e-9 * normal.diagonal().mean())
        move = np.zeros(2 * count)
        move[free] = spsolve(normal, part.T @ residual)
        move = move.reshape(2, count).T
        edges = (position[triangles[:, 1:]] - position[triangles[:, :1]]).transpose(0, 2, 1)
        edge_moves = (move[triangles[:, 1:]] - move[triangles[:, :1]]).transpose(0, 2, 1)
        step = min(1.0, 0.8 * _longest_step(edges, edge_moves))
        energy = _energy(jacobians, weights)
        delta = (both @ move.T.ravel()).reshape(2, -1, 2).transpose(1, 0, 2)
        while step > 1e-9 and _energy(jacobians + step * delta, weights) > energy:
            step *= 0.6
        position = position + step * move
        if step <= 1e-9:
            break
    return position
