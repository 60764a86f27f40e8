"""Meshes in Wavefront's OBJ format, as face models are given out: vertices, UVs, polygons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextface.model_files.limits import WrongFileError, check_size

LARGEST_FILE = 64 << 20  # bytes; a head of 27,000 vertices takes 2.5 MB


@dataclass(frozen=True)
class ObjMesh:
    """A mesh of V vertices, T texture coordinates and Q polygons of three or four corners."""

    vertices: NDArray[np.float32]  # [V, 3], in the file's unit
    uvs: NDArray[np.float32]  # [T, 2], v up; empty where there are none
    polygons: NDArray[np.int64]  # [Q, 4]; triangles repeat their last corner
    uv_polygons: NDArray[np.int64]  # [Q, 4] into `uvs`; empty where there are none


def read_vertices(path: Path) -> NDArray[np.float32]:
    """The vertices [V, 3] alone, which is quicker.

    Raises
    ------
    WrongFileError: they cannot be read.
    OSError: the file cannot.
    """
    return _numbers([line for line in _lines(path) if line.startswith("v ")], 3)


def read_obj(path: Path) -> ObjMesh:
    """A whole mesh.

    Raises
    ------
    WrongFileError: it has a line that cannot be read, or a corner that is not there.
    OSError: the file cannot be read.
    """
    lines = _lines(path)
    vertices = _numbers([line for line in lines if line.startswith("v ")], 3)
    uvs = _numbers([line for line in lines if line.startswith("vt ")], 2)
    corners, uv_corners = [], []
    for line in lines:
        if not line.startswith("f "):
            continue
        words = [word.split("/") for word in line.split()[1:]]
        if not 3 <= len(words) <= 4:
            raise WrongFileError(f"has a polygon of {len(words)} corners")
        words += words[-1:] * (4 - len(words))
        try:
            corners.append([int(word[0]) for word in words])
            if len(uvs):
                uv_corners.append([int(word[1]) for word in words])
        except (ValueError, IndexError):
            raise WrongFileError(f"has the polygon {line!r}, which cannot be read") from None
    polygons, uv_polygons = (np.array(found, np.int64).reshape(-1, 4) - 1 for found in (corners, uv_corners))
    for found, count in ((polygons, len(vertices)), (uv_polygons, len(uvs))):
        if found.size and not (found.min() >= 0 and found.max() < count):
            raise WrongFileError("has polygons with corners that are not there")
    return ObjMesh(vertices, uvs, polygons, uv_polygons)


def triangulated(polygons: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which corners [F, 2] of which polygons make triangles: their numbers in `polygons` [Q, 4], as [F, 4].

    The first column is the polygon, the others the places of its three corners.
    """
    number = np.arange(len(polygons))
    halves = [
        np.column_stack([number, np.tile(corners, (len(polygons), 1))]) for corners in ((0, 1, 2), (0, 2, 3))
    ]
    both = np.stack(halves, 1).reshape(-1, 4)
    triangles = np.take_along_axis(polygons[both[:, 0]], both[:, 1:], 1)
    return both[(triangles != np.roll(triangles, 1, 1)).all(1)]


def _lines(path: Path) -> list[str]:
    check_size(path, LARGEST_FILE)
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise WrongFileError("is no text") from None


def _numbers(lines: list[str], columns: int) -> NDArray[np.float32]:
    try:
        values = np.array(" ".join(line.split(None, 1)[1] for line in lines).split(), np.float32)
    except (ValueError, IndexError):
        raise WrongFileError("has coordinates that are no numbers") from None
    if len(lines) == 0:
        return np.zeros((0, columns), np.float32)
    if len(values) % len(lines) or len(values) < columns * len(lines):
        raise WrongFileError("has coordinates of different lengths")
    values = values.reshape(len(lines), -1)[:, :columns]
    if not np.isfinite(values).all():
        raise WrongFileError("has coordinates that are not finite")
    return np.ascontiguousarray(values)
