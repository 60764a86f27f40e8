"""Puts the head together: which raw vertices control it, how the fine mesh follows them, and its symmetry.

Control points are the skin of head and neck, a frame for each eyeball, the teeth and the tongue. The fine
vertices are a fixed sparse linear function of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from . import eyeball
from .catmull_clark import subdivide, subdivided_mirror, triangulate, unique_edges
from .source import RawData

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

NECK_LOOP_START = (
    1522  # a raw vertex on the front midline: the edge loop through it is a level cut low on the neck
)
HEAD_VERTEX = 136  # a raw vertex on the forehead: the side of the loop that is kept
PARTS = ("skin", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue")


@dataclass(frozen=True)
class Head:
    """The head's topology. Control points C, fine vertices V, triangles F; masks and maps are per part."""

    controls: sparse.csr_matrix  # [C, raw vertices], control points from raw vertices
    control_mirror: Indices  # [C]
    control_part: Indices  # [C], number in PARTS
    control_raw: Indices  # [C], the raw vertex of a control point, -1 for eye frames
    refine: sparse.csr_matrix  # [V, C], fine vertices from control points
    mirror: Indices  # [V]
    part: Indices  # [V], number in PARTS
    triangles: Indices  # [F, 3]
    eye_angle: Array  # [V], degrees off the optical axis for eyeballs, nan elsewhere

    def of_part(self, name: str) -> Indices:
        """Fine vertices of a part."""
        return np.flatnonzero(self.part == PARTS.index(name))


def neck_loop(quads: Indices, positions: Array) -> set[tuple[int, int]]:
    """The edges of the loop round the neck: from each vertex on to the edge that faces the one it came by."""
    edges, _, _ = unique_edges(quads)
    faces_of: dict[int, list[int]] = {}
    for number, face in enumerate(quads):
        for vertex in face:
            faces_of.setdefault(int(vertex), []).append(number)
    neighbours: dict[int, set[int]] = {}
    for first, second in edges:
        neighbours.setdefault(int(first), set()).add(int(second))
        neighbours.setdefault(int(second), set()).add(int(first))

    start = NECK_LOOP_START
    vertex = max(neighbours[start], key=lambda candidate: positions[candidate, 0])
    loop, before = [(start, vertex)], start
    while vertex != start:
        near = {int(v) for face in faces_of[vertex] if before in quads[face] for v in quads[face]}
        (after,) = neighbours[vertex] - near
        before, vertex = vertex, after
        loop.append((before, vertex))
    return {(min(edge), max(edge)) for edge in loop}


def head_quads(quads: Indices, positions: Array) -> Indices:
    """The quads of the body that lie above the loop round the neck."""
    edges, corner_edges, _ = unique_edges(quads)
    loop = neck_loop(quads, positions)
    passable = np.array([tuple(edge) not in loop for edge in edges])
    across = sparse.csr_matrix(
        (np.ones(corner_edges.size), (np.repeat(np.arange(len(quads)), 4), corner_edges.ravel())),
        shape=(len(quads), len(edges)),
    )[:, passable]
    _, component = sparse.csgraph.connected_components(across @ across.T, False)
    inside = component[np.flatnonzero((quads == HEAD_VERTEX).any(1))[0]]
    return quads[component == inside]


def skin_quads(raw: RawData) -> Indices:
    """The quads [Q, 4] of the skin's control points."""
    quads = head_quads(raw.quads("body"), raw.positions)
    return np.unique(quads, return_inverse=True)[1].reshape(quads.shape)


def _refined_part(
    quads: Indices, raw_mirror: Indices, levels: int
) -> tuple[Indices, Indices, sparse.csr_matrix, Indices, Indices]:
    """Raw vertices, their mirror map, refinement matrix, fine mirror map and triangles of one quad part."""
    raw = np.unique(quads)
    number = np.full(raw.max() + 1, -1)
    number[raw] = np.arange(len(raw))
    faces, mirror = number[quads], number[raw_mirror[raw]]
    matrix, fine_mirror = sparse.identity(len(raw), format="csr"), mirror
    for _ in range(levels):
        step, refined = subdivide(faces, matrix.shape[0])
        fine_mirror = subdivided_mirror(faces, fine_mirror, refined, matrix.shape[0])
        matrix, faces = step @ matrix, refined
    return raw, mirror, matrix.tocsr(), fine_mirror, triangulate(faces)


def assemble(raw: RawData) -> Head:
    """The head's topology from the raw data."""
    total = len(raw.positions)
    skin = head_quads(raw.quads("body"), raw.positions)
    offsets, ball_triangles, ball_angle = eyeball.ring_mesh()
    in_frame = np.concatenate([1 - offsets.sum(1, keepdims=True), offsets], 1)

    control_blocks, control_mirrors, control_raw, control_counts = [], [], [], []
    refine_blocks, mirrors, triangles, counts, angles = [], [], [], [], []
    for part in PARTS:
        control_start, start = sum(control_counts), sum(counts)
        if part in ("left_eye", "right_eye"):
            side = 1 if part == "left_eye" else -1
            ball = np.unique(raw.quads("helper-l-eye" if side == 1 else "helper-r-eye"))
            block = sparse.lil_matrix((4, total))
            block[:, ball] = eyeball.frame_weights(raw.positions[ball], side)
            block = block.tocsr()
            matrix = sparse.csr_matrix(in_frame)
            faces = ball_triangles if side == 1 else ball_triangles[:, ::-1]
            control_mirror = np.arange(4) + (control_start + 4 * side)
            mirror = np.arange(len(offsets)) + (start + len(offsets) * side)
            numbers, angle = np.full(4, -1), ball_angle
        else:
            quads = skin if part == "skin" else raw.quads("helper-" + part.replace("_", "-"))
            levels = 2 if part.endswith("teeth") else 1
            numbers, control_mirror, matrix, mirror, faces = _refined_part(quads, raw.mirror, levels)
            block = sparse.csr_matrix(
                (np.ones(len(numbers)), (np.arange(len(numbers)), numbers)), (len(numbers), total)
            )
            control_mirror, mirror = control_mirror + control_start, mirror + start
            angle = np.full(matrix.shape[0], np.nan)
        control_blocks.append(block)
        control_mirrors.append(control_mirror)
        control_raw.append(numbers)
        control_counts.append(block.shape[0])
        refine_blocks.append(matrix)
        mirrors.append(mirror)
        triangles.append(faces + start)
        counts.append(matrix.shape[0])
        angles.append(angle)
    return Head(
        controls=sparse.vstack(control_blocks).tocsr(),
        control_mirror=np.concatenate(control_mirrors),
        control_part=np.repeat(np.arange(len(PARTS)), control_counts),
        control_raw=np.concatenate(control_raw),
        refine=sparse.block_diag(refine_blocks).tocsr(),
        mirror=np.concatenate(mirrors),
        part=np.repeat(np.arange(len(PARTS)), counts),
        triangles=np.concatenate(triangles),
        eye_angle=np.concatenate(angles),
    )
