"""One Catmull-Clark step as a sparse matrix: new vertices are a fixed linear function of the old ones.

Catmull, Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978; borders
follow the cubic B-spline rule, as in Hoppe et al. 1994.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def unique_edges(quads: Indices) -> tuple[Indices, Indices, Indices]:
    """Edges [E, 2] of quads [F, 4], the edge [F, 4] that starts at each corner, and faces per edge [E]."""
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    unique, inverse, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    return unique, inverse.reshape(quads.shape), count


def _incidence(
    rows: Indices, columns: Indices, shape: tuple[int, int], value: float = 1.0
) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.full(len(rows), value), (rows, columns)), shape=shape)


def subdivide(quads: Indices, count: int) -> tuple[sparse.csr_matrix, Indices]:
    """The matrix [V', V] and the quads [4F, 4] of one step over `count` vertices that `quads` all use.

    New vertices come in the order old vertices, edges, faces; every new quad starts at an old vertex and has
    its face's point opposite, so that its 0-2 diagonal triangulates a symmetric mesh symmetrically.
    """
    edges, corner_edges, edge_faces = unique_edges(quads)
    face_number = np.repeat(np.arange(len(quads)), 4)
    face_shape = (len(quads), count)
    face_points = _incidence(face_number, quads.ravel(), face_shape, 0.25)
    midpoints = _incidence(np.repeat(np.arange(len(edges)), 2), edges.ravel(), (len(edges), count), 0.5)
    edge_to_face = _incidence(corner_edges.ravel(), face_number, (len(edges), len(quads)))
    border = edge_faces == 1
    beside = sparse.diags(1.0 / edge_faces) @ edge_to_face @ face_points
    edge_points = (
        sparse.diags(np.where(border, 1.0, 0.5)) @ midpoints + sparse.diags(np.where(border, 0.0, 0.5)) @ beside
    )

    vertex_faces = _incidence(quads.ravel(), face_number, (count, len(quads)))
    vertex_edges = _incidence(edges.ravel(), np.repeat(np.arange(len(edges)), 2), (count, len(edges)))
    valence = np.asarray(vertex_faces.sum(1)).ravel()
    degree = np.asarray(vertex_edges.sum(1)).ravel()
    inner = (
        sparse.diags(valence**-2.0) @ vertex_faces @ face_points
        + sparse.diags(2.0 / (valence * degree)) @ vertex_edges @ midpoints
        + sparse.diags((valence - 3.0) / valence)
    )
    rim = 0.5 * sparse.identity(count) + 0.25 * vertex_edges[:, border] @ midpoints[border]
    on_border = np.zeros(count, bool)
    on_border[edges[border]] = True
    vertex_points = (
        sparse.diags(np.where(on_border, 0.0, 1.0)) @ inner + sparse.diags(np.where(on_border, 1.0, 0.0)) @ rim
    )

    edge_corner, face_corner = count + corner_edges, count + len(edges) + np.arange(len(quads))
    refined = [
        np.stack([quads[:, i], edge_corner[:, i], face_corner, edge_corner[:, i - 1]], 1) for i in range(4)
    ]
    return sparse.vstack([vertex_points, edge_points, face_points]).tocsr(), np.concatenate(refined)


def triangulate(quads: Indices) -> Indices:
    """Triangles [2F, 3], split along each quad's diagonal from corner 0 to corner 2."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def subdivided_mirror(quads: Indices, mirror: Indices, refined: Indices, count: int) -> Indices:
    """The mirror map of the subdivided vertices, from the mirror map [V] of the old ones."""
    edges, _, _ = unique_edges(quads)
    edge_number = {tuple(edge): number for number, edge in enumerate(edges)}
    face_number = {tuple(sorted(face)): number for number, face in enumerate(quads)}
    first_edge, first_face = count, count + len(edges)
    return np.concatenate(
        [
            mirror,
            [first_edge + edge_number[tuple(sorted(mirror[edge]))] for edge in edges],
            [first_face + face_number[tuple(sorted(mirror[face]))] for face in quads],
        ]
    ).astype(np.int64)
