"""Searching a photo for faces: whole, and in overlapping tiles for faces that are small in it.

The detectors look at a small copy of the picture and miss faces below about 8 % of its width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from nextface.landmarks.points import Landmarks, face_box, outline_box

SMALLEST_TILE = 320  # pixels: a face that fills 8 % of a smaller tile is too small to use
SAME_FACE_OVERLAP = 0.3  # intersection over union of two outlines


class FaceDetector(Protocol):
    """Finds the faces in one picture."""

    def detect(self, rgb: np.ndarray) -> list[Landmarks]:
        """The faces in an sRGB image [H, W, 3] uint8."""
        ...


def search(detector: FaceDetector, rgb: np.ndarray, wanted: int = 1) -> list[Landmarks]:
    """The faces in an sRGB photo [H, W, 3] uint8, largest first.

    The whole photo is searched first, then tiles of a half, a quarter ... of its longer side, until
    `wanted` faces are found or the tiles become too small to hold a usable one.
    """
    faces = _distinct(detector.detect(rgb))
    tile = max(rgb.shape[:2]) // 2
    while len(faces) < wanted and tile >= SMALLEST_TILE:
        found = [face for x, y in _tile_corners(rgb, tile) for face in _detect_in(detector, rgb, x, y, tile)]
        closer = (_look_closer(detector, rgb, face) for face in _distinct(found))
        faces = _distinct(faces + [face for face in closer if face is not None])
        tile //= 2
    return faces


def _tile_corners(rgb: np.ndarray, tile: int) -> Iterator[tuple[int, int]]:
    """Upper-left corners of square tiles that overlap by at least half and cover the photo."""
    height, width = rgb.shape[:2]
    for y in _starts(height, tile):
        for x in _starts(width, tile):
            yield x, y


def _starts(length: int, tile: int) -> list[int]:
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile / 2))) + 1
    return [round(start) for start in np.linspace(0, length - tile, count)]


def _detect_in(detector: FaceDetector, rgb: np.ndarray, x: int, y: int, side: int) -> list[Landmarks]:
    """The faces in one square of the photo, in photo pixels."""
    x, y = max(x, 0), max(y, 0)
    shift = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
    return [face.transformed(shift) for face in detector.detect(rgb[y : y + side, x : x + side])]


def _look_closer(detector: FaceDetector, rgb: np.ndarray, face: Landmarks) -> Landmarks | None:
    """The same face found again with room around it, where no tile's edge cuts it; None: it was no face."""
    x0, y0, x1, _ = face_box(face)
    margin = (x1 - x0) / 4
    x, y, side = round(x0 - margin), round(y0 - margin), round(x1 - x0 + 2 * margin)
    found = _detect_in(detector, rgb, x, y, side)
    again = [other for other in found if _overlap(other, face) > SAME_FACE_OVERLAP]
    return max(again, key=lambda other: _overlap(other, face), default=None)


def _distinct(faces: list[Landmarks]) -> list[Landmarks]:
    """The faces, largest first, each face once."""
    kept: list[Landmarks] = []
    for face in sorted(faces, key=_area, reverse=True):
        if all(_overlap(face, other) <= SAME_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _area(face: Landmarks) -> float:
    x0, y0, x1, y1 = outline_box(face)
    return (x1 - x0) * (y1 - y0)


def _overlap(one: Landmarks, other: Landmarks) -> float:
    """Intersection over union of two faces' outline boxes."""
    a, b = outline_box(one), outline_box(other)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (_area(one) + _area(other) - shared)
