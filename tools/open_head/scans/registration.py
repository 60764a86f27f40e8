"""Bends the head's mean onto the mean of real scans: a non-rigid registration that keeps its mesh.

Each control point carries an affine map (`nextface/surfaces/bending.py`), which agree with each other the less
strictly the closer the surfaces are (optimal step non-rigid registration, Amberg, Romdhani, Vetter 2007).
Pairs come from detected landmarks, from the rings of edges that make lids and lips on both meshes, and from
the nearest points that face the same way; all are made symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from nextface.surfaces.bending import Bending, similarity
from nextface.surfaces.nearest import Found, Surface, vertex_normals

from ..catmull_clark import unique_edges
from ..regions import Places
from ..statistics import reflect
from ..topology import Head
from . import ict
from .edge_loops import along, fractions, halves, ring

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

PLACES = Path(__file__).with_name("landmark_places.npz")
# Detected points that are not used: rings place lids and inner lips better, the outline slides with the view.
LIDS = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246,
    362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398,
)  # fmt: skip
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
IRISES = 468  # the first of them
OUTLIER = 12.0  # mm after a similarity
NECK_RIM, NECK_FADING = 5.0, 30.0  # mm above the neck's lower rim
# The same rings on both meshes, on the left eye: two vertices in a row on the head, and on the scans' mesh.
LID_RINGS = (
    ((2242, 2248), (2810, 3200)),  # the outer edge of the lids
    ((3205, 3206), (3753, 4161)),  # where they touch the eyeball
    ((3231, 3232), (6548, 6549)),  # behind them
)
LIP_START = (520, 5532)  # the lowest middle vertex of the upper lip: closed lips meet on its ring
# Fine vertices of the left ear and of the scans' ear, chosen by eye: helix, lobe, notch, concha, antitragus.
EARS = (
    (12389, 6844), (12460, 6857), (4138, 7243), (12425, 7125), (4300, 7119), (4058, 7320), (12517, 6824),
    (12952, 7193), (17152, 6779), (4018, 6783),
)  # fmt: skip

STIFFNESS = np.geomspace(300.0, 0.15, 12)
REACH = np.geomspace(25.0, 2.5, 12)  # mm within which nearest points count
REPEATS = 2  # solutions at each stiffness
LANDMARK, EAR, RING = (20.0, 0.1), (30.0, 0.0), (50.0, 50.0)  # weights at the first and the last stiffness


@dataclass(frozen=True)
class Pairs:
    """Fine skin vertices, as rows [P, V], that belong at points [P, 3]."""

    rows: sparse.csr_matrix
    points: Array


def landmark_pairs(head: Head, fine: Array, scans: ict.Scans) -> Pairs:
    """The trusted landmarks of a detector on both means, and their mirror images."""
    with np.load(PLACES, allow_pickle=False) as stored:
        places = {name: stored[name] for name in stored.files}
    usable = places["usable"].copy()
    usable[IRISES:] = False
    usable[[*LIDS, *INNER_LIPS, *OUTLINE]] = False
    number = np.flatnonzero(usable)
    corners = head.triangles[places["head_triangles"][number]]
    row = np.repeat(np.arange(len(number)), 3)
    rows = sparse.csr_matrix(
        (places["head_barycentric"][number].ravel(), (row, corners.ravel())), (len(number), len(fine))
    )
    corners = scans.neutral[places["scan_vertices"][number]]
    points = (corners * places["scan_barycentric"][number][..., None]).sum(1)
    scale, rotation, shift = similarity(rows @ fine, points)
    near = np.linalg.norm(scale * (rows @ fine) @ rotation.T + shift - points, axis=1) < OUTLIER
    return Pairs(rows[np.flatnonzero(near)], points[near])


def _numbered(numbers: Indices, count: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(numbers)), (np.arange(len(numbers)), numbers)), (len(numbers), count))


def ring_pairs(quads: Indices, fine: Array, scans: ict.Scans) -> Pairs:
    """Lids and lips: points at the same fraction of the way from corner to corner."""
    scan_quads = ict.skin_quads(scans)
    couples = [(ring(quads, *ours), ring(scan_quads, *theirs)) for ours, theirs in LID_RINGS]
    ours, theirs = LIP_START
    couples.append((middle_ring(quads, ours, fine), middle_ring(scan_quads, theirs, scans.neutral)))
    numbers, points = [], []
    for ours, theirs in couples:
        for half, curve in zip(halves(ours, fine), halves(theirs, scans.neutral), strict=True):
            numbers.append(half)
            points.append(along(scans.neutral[curve], fractions(fine[half])))
    return Pairs(_numbered(np.concatenate(numbers), len(fine)), np.concatenate(points))


def middle_ring(quads: Indices, start: int, positions: Array) -> Indices:
    """The ring that crosses the midline at a vertex."""
    edges, _, _ = unique_edges(quads)
    others = edges[(edges == start).any(1)].sum(1) - start
    return ring(quads, start, int(others[positions[others, 0].argmax()]))


def with_mirror_images(pairs: Pairs, mirror: Indices) -> Pairs:
    """The pairs, and those of the other side of the face; both sides count half."""
    both = sparse.vstack([pairs.rows, pairs.rows[:, mirror]]).tocsr()
    return Pairs(both, np.concatenate([pairs.points, pairs.points * [-1, 1, 1]]))


@dataclass(frozen=True)
class Registered:
    """The head's skin on the scans' mean."""

    controls: Array  # [C, 3] control points of the skin
    found: Found  # the scans' points nearest to the fine skin vertices
    trust: Array  # [V] in [0, 1] how much these correspondences are worth
    scale: float  # of the similarity that takes the head's own mean near this one
    rotation: Array  # [3, 3] of that similarity


def believed(head: Head, places: Places) -> Array:
    """How far nearest points are believed at fine skin vertices [V]: little in the mouth and at the rim."""
    skin = head.part == 0
    up = places.up[skin]
    neck = np.clip((up - up.min() - NECK_RIM) / NECK_FADING, 0.02, 1)
    return (1 - 0.97 * places.mouth_inside[skin]) * np.where(places.socket[skin] > 0.5, 0.0, neck)


def report(head: Head, registered: Registered, named: dict[str, NDArray[np.bool_]]) -> str:
    """Distances from the registered skin to the scans' mean, region by region, where it is trusted."""
    lines = ["distance to the scans' mean, mm: mean, root mean square, 95 %"]
    for name, region in named.items():
        seen = region[head.part == 0] & (registered.trust > 0.5)
        if seen.any():
            gap = registered.found.distance[seen]
            lines.append(
                f"{name:12} {gap.mean():.3f} {np.sqrt((gap**2).mean()):.3f} {np.quantile(gap, 0.95):.2f}"
            )
    return "\n".join(lines)


def register(head: Head, controls: Array, quads: Indices, places: Places, scans: ict.Scans) -> Registered:
    """Bend the skin of the head (control points [C, 3], quads [Q, 4] of the skin) onto the scans' mean."""
    skin = int((head.control_part == 0).sum())
    visible = int((head.part == 0).sum())
    region_trust = believed(head, places)
    refine, mirror = head.refine[:visible, :skin], head.mirror[:visible]
    triangles = head.triangles[(head.part[head.triangles] == 0).all(1)]
    rest = controls[:skin]
    everything = head.refine @ controls
    marks = landmark_pairs(head, everything, scans)
    scale, rotation, shift = similarity(marks.rows @ everything, marks.points)
    # Symmetric means differ by a turn about x and by shifts along y and z.
    rotation = (rotation + np.diag([-1, 1, 1]) @ rotation @ np.diag([-1, 1, 1])) / 2
    left, _, right = np.linalg.svd(rotation)
    rotation, shift = left @ right, shift * [0, 1, 1]
    rest = scale * rest @ rotation.T + shift
    bending = Bending(rest, unique_edges(quads)[0])

    fine = refine @ rest
    marks = with_mirror_images(Pairs(marks.rows[:, :visible], marks.points), mirror)
    rings = with_mirror_images(ring_pairs(quads, fine, scans), mirror)
    ears = np.array(EARS)
    ears = with_mirror_images(Pairs(_numbered(ears[:, 0], visible), scans.neutral[ears[:, 1]]), mirror)
    fixed = sparse.vstack([pairs.rows for pairs in (marks, rings, ears)]).tocsr() @ refine
    goals = np.concatenate([pairs.points for pairs in (marks, rings, ears)])
    counts = [len(pairs.points) for pairs in (marks, rings, ears)]
    surface = Surface(scans.neutral, ict.triangles_of(ict.skin_quads(scans)))

    control_mirror = head.control_mirror[:skin]
    current = rest
    for number, stiffness in enumerate(STIFFNESS):
        way = number / (len(STIFFNESS) - 1)
        pull = np.repeat([a ** (1 - way) * max(b, 1e-3) ** way for a, b in (LANDMARK, RING, EAR)], counts)
        for _ in range(REPEATS):
            fine = refine @ current
            found = surface.nearest(fine, vertex_normals(fine, triangles))
            weights = region_trust * np.exp(-((found.distance / REACH[number]) ** 2)) * (found.agreement > 0.3)
            weights = np.maximum(weights, 1e-6)
            total = weights + weights[mirror]
            points = (
                weights[:, None] * found.points + weights[mirror][:, None] * reflect(found.points, mirror)
            ) / total[:, None]
            current = bending.solve(
                stiffness,
                bending.of_positions(sparse.vstack([refine, fixed]).tocsr()),
                np.concatenate([total / 2, pull]),
                np.concatenate([points, goals]),
            )[: bending.count]
            current = (current + reflect(current, control_mirror)) / 2
    fine = refine @ current
    found = surface.nearest(fine, vertex_normals(fine, triangles))
    close = np.exp(-((found.distance / REACH[-1]) ** 2)) * np.clip((found.agreement - 0.3) / 0.4, 0, 1)
    trust = region_trust * close
    return Registered(current, found, np.minimum(trust, trust[mirror]), scale, rotation)
