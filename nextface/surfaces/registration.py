"""Bends one head onto another: landmark-guided non-rigid registration, and which point then lies on which.

The template's skin carries a graph of nodes with affine maps (`bending.py`), denser where the guides are:
around eyes, nose and mouth. Guides pull it into place while it is stiff, nearest points that face the same way
when it is soft (optimal step non-rigid registration, Amberg, Romdhani, Vetter 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from nextface.surfaces.bending import Bending, similarity
from nextface.surfaces.nearest import Surface, vertex_normals

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

SPACING, GROWTH, WIDEST = 4.0, 0.35, 18.0  # mm between nodes: near guides, more for each mm away, at most
FOLLOWED = 4  # nodes that a vertex follows
STIFFNESS = np.geomspace(300.0, 0.3, 9)
REACH = np.geomspace(20.0, 2.5, 9)  # mm within which nearest points count
GUIDE = (20.0, 1.0)  # weight of guides at the first and the last stiffness
SAMPLES = 4000  # vertices that look for nearest points
AGREEMENT = 0.4  # least cosine between normals of points that belong together


@dataclass(frozen=True)
class Guides:
    """Points of the template that belong at places on the target."""

    triangles: Indices  # [G] of the template
    barycentric: Array  # [G, 3]
    places: Array  # [G, 3] mm
    trust: Array  # [G] in [0, 1]


@dataclass(frozen=True)
class Head:
    """A mesh of V vertices and F triangles, and which vertices are its outer skin."""

    vertices: Array  # [V, 3] mm
    triangles: Indices  # [F, 3]
    outer: Mask  # [V]

    def of(self, vertices: Mask) -> Indices:
        """The triangles whose corners all are among these."""
        return self.triangles[vertices[self.triangles].all(1)]


def bend(template: Head, target: Head, guides: Guides) -> Array:
    """The template's vertices [V, 3] on the target.

    Its outer skin lies on the target's, as far as that reaches; all else of it follows.
    """
    corners = template.triangles[guides.triangles]
    points = (template.vertices[corners] * guides.barycentric[..., None]).sum(1)
    scale, rotation, shift = similarity(points, guides.places)
    rest = scale * template.vertices @ rotation.T + shift
    skin = template.of(template.outer)
    nodes, owner = _nodes(rest, skin, (rest[corners] * guides.barycentric[..., None]).sum(1))
    bending = Bending(rest[nodes], _node_edges(skin, owner))
    rows = bending.of_maps(rest, *_followed(rest, nodes, owner, skin))
    row = np.repeat(np.arange(len(corners)), 3)
    marks = (
        sparse.csr_matrix((guides.barycentric.ravel(), (row, corners.ravel())), (len(corners), len(rest)))
        @ rows
    )

    surface = Surface(target.vertices, target.of(target.outer))
    rim = _rim(surface.triangles, len(target.vertices))
    looking = np.unique(skin)
    looking = looking[:: max(1, len(looking) // SAMPLES)]
    current = rest
    for step, stiffness in enumerate(STIFFNESS):
        way = step / (len(STIFFNESS) - 1)
        pull = GUIDE[0] ** (1 - way) * GUIDE[1] ** way * guides.trust
        found = surface.nearest(current[looking], vertex_normals(current, skin)[looking])
        weights = np.exp(-((found.distance / REACH[step]) ** 2)) * (found.agreement > AGREEMENT)
        weights *= found.weights @ rim < 0.99  # beyond the target's rim there is nothing to lie on
        solution = bending.solve(
            float(stiffness),
            sparse.vstack([rows[looking], marks]).tocsr(),
            np.maximum(np.concatenate([weights, pull]), 1e-6),
            np.concatenate([found.points, guides.places]),
        )
        current = rows @ solution
    return current


def _nodes(places: Array, skin: Indices, guides: Array) -> tuple[Indices, Indices]:
    """Vertices that become nodes, and for each vertex [V] the node along the surface nearest to it, or -1."""
    used = np.unique(skin)
    spacing = np.clip(SPACING + GROWTH * cKDTree(guides).query(places[used])[0], SPACING, WIDEST)
    near = cKDTree(places[used])
    free = np.ones(len(used), bool)
    chosen = []
    for number in np.argsort(spacing, kind="stable"):  # the densest places first
        if free[number]:
            chosen.append(number)
            free[near.query_ball_point(places[used[number]], spacing[number])] = False
    nodes = used[chosen]
    edges = np.unique(np.sort(np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]]), 1), axis=0)
    length = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    graph = sparse.csr_matrix((length, edges.T), (len(places), len(places)))
    _, _, source = dijkstra(graph, directed=False, indices=nodes, min_only=True, return_predecessors=True)
    number_of = np.full(len(places) + 1, -1)
    number_of[nodes] = np.arange(len(nodes))
    return nodes, np.where(source >= 0, number_of[np.maximum(source, 0)], -1)


def _node_edges(skin: Indices, owner: Indices) -> Indices:
    """Pairs [E, 2] of nodes whose vertices touch."""
    pairs = owner[np.concatenate([skin[:, [0, 1]], skin[:, [1, 2]], skin[:, [2, 0]]])]
    pairs = np.sort(pairs[(pairs >= 0).all(1)], 1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _followed(places: Array, nodes: Indices, owner: Indices, skin: Indices) -> tuple[Indices, Array]:
    """The nodes [V, K] that each vertex follows, and how much: neighbours along the skin, or the nearest."""
    count = len(nodes)
    edges = _node_edges(skin, owner)
    beside = sparse.csr_matrix(
        (np.ones(2 * len(edges)), np.concatenate([edges, edges[:, ::-1]]).T), (count, count)
    )
    beside = beside + sparse.identity(count, format="csr")
    nearest = cKDTree(places[nodes]).query(places, FOLLOWED)[1]
    on_skin = np.flatnonzero(owner >= 0)
    most = int(np.diff(beside.indptr).max())
    slots = np.minimum(
        beside.indptr[owner[on_skin], None] + np.arange(most), beside.indptr[owner[on_skin] + 1, None] - 1
    )
    own = beside.indices[
        slots
    ]  # [v, most] the node and its neighbours; the last one again where there are fewer
    away = ((places[nodes[own]] - places[on_skin, None]) ** 2).sum(-1)
    away[:, 1:][slots[:, 1:] == slots[:, :-1]] = np.inf
    nearest[on_skin] = np.take_along_axis(own, np.argsort(away, 1)[:, :FOLLOWED], 1)
    away = np.linalg.norm(places[nodes[nearest]] - places[:, None], axis=-1)
    weights = (1 - away / (1.05 * away.max(1, keepdims=True) + 1e-9)) ** 2 + 1e-6
    return nearest, weights / weights.sum(1, keepdims=True)


def _rim(triangles: Indices, count: int) -> Array:
    """[V] 1 at vertices of edges that only one triangle has."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    found, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.zeros(count)
    rim[found[uses == 1]] = 1
    return rim
