"""Reads ICT-FaceKit's light model (MIT licence): a mean head and modes of identity from light-stage scans.

The public data is the folder FaceXModel of https://github.com/ICT-VGL/ICT-FaceKit: one OBJ file for the mean
and one for each of its 100 identity modes at one standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SOURCE = "https://github.com/ICT-VGL/ICT-FaceKit"
MODES = 100
MILLIMETRES = 10.0  # of ICT's unit
# Vertices by what they belong to: number of the first one after it (the lists are in ICT-FaceKit's README).
SKIN = 14_062  # face, head and neck, mouth socket, eye sockets: one surface
TEETH = (17_039, 21_451)
LEFT_EYE = (21_451, 23_021)  # eyeball and cornea
EYE_SURFACE = 22_221  # the first vertex of its cornea


@dataclass(frozen=True)
class Scans:
    """The mean head and its modes, symmetric: mm, x to the subject's left, y up, z towards the viewer."""

    neutral: Array  # [V, 3]
    modes: Array  # [100, V, 3], a standard deviation each
    quads: Indices  # [Q, 4], triangles repeat their last corner
    mirror: Indices  # [SKIN], each skin vertex's mirror image


def _read_obj(path: Path) -> tuple[Array, Indices]:
    """Vertices [V, 3] and quads [Q, 4] of an OBJ file."""
    vertices, faces = [], []
    for line in path.read_text().splitlines():
        word, *values = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in values[:3]])
        elif word == "f":
            face = [int(value.split("/")[0]) - 1 for value in values]
            faces.append(face + face[-1:] * (4 - len(face)))
    return np.array(vertices), np.array(faces)


def read(path: Path) -> Scans:
    """The model from a clone of ICT-FaceKit, its folder FaceXModel, or an archive of its arrays (.npz).

    The archive holds `neutral` [V, 3], `identity` [100, V, 3] and `polygons` [Q, 4] in ICT's units.

    Raises
    ------
    SystemExit: there is no such model.
    """
    if path.suffix == ".npz" and path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            neutral, modes = stored["neutral"].astype(float), stored["identity"].astype(float)
            quads = stored["polygons"].astype(np.int64)
    else:
        folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
        files = [folder / f"identity{number:03d}.obj" for number in range(MODES)]
        average = folder / "generic_neutral_mesh.obj"
        missing = [file.name for file in (average, *files) if not file.is_file()]
        if missing:
            raise SystemExit(
                f"{folder} lacks {len(missing)} files, such as {missing[0]}: give --ict a clone of {SOURCE}"
            )
        neutral, quads = _read_obj(average)
        modes = np.stack([_read_obj(file)[0] - neutral for file in files])
    neutral, modes = neutral * MILLIMETRES, modes * MILLIMETRES
    skin = neutral[:SKIN]
    mirror = cKDTree(skin).query(skin * [-1, 1, 1])[1]
    if not np.array_equal(mirror[mirror], np.arange(SKIN)):
        raise SystemExit(f"{path}: its mean face is not symmetric; is it the neutral mesh of {SOURCE}?")
    return Scans(neutral, modes, quads, mirror)


def skin_quads(scans: Scans) -> Indices:
    """Quads [Q, 4] of the skin, mouth and eye sockets included."""
    return scans.quads[(scans.quads < SKIN).all(1)]


def triangles_of(quads: Indices) -> Indices:
    """Triangles [F, 3] of quads, some of which are triangles."""
    halves = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return halves[(halves != np.roll(halves, 1, 1)).all(1)]


def teeth(scans: Scans) -> tuple[Indices, Indices]:
    """Vertices of the upper and of the lower teeth: pieces of the mesh, by how low they reach."""
    numbers = np.arange(*TEETH)
    quads = scans.quads[((scans.quads >= TEETH[0]) & (scans.quads < TEETH[1])).all(1)] - TEETH[0]
    pairs = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2).T
    links = sparse.coo_matrix((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), (len(numbers), len(numbers)))
    count, piece = sparse.csgraph.connected_components(links, False)
    lowest = np.full(count, np.inf)
    np.minimum.at(lowest, piece, scans.neutral[numbers, 1])
    upper = lowest[piece] > (lowest.min() + lowest.max()) / 2
    return numbers[upper], numbers[~upper]
