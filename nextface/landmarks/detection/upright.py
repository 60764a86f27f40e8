"""Faces in a photo that is not upright: found, and turned until they are.

The detectors find a face that lies on its side, but not one upside down. There they see none, or one that is
not there, with its eyes in the mouth. On its side, though, an upside-down face is found as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nextface.landmarks.detection.several_looks import is_steady
from nextface.landmarks.detection.tiles import FaceDetector, search
from nextface.landmarks.points import Landmarks, face_box

LYING = 60.0  # degrees from upright, beyond which a face is turned; heads are tilted to 45 degrees and more
TILTED = 30.0  # ... beyond which a face is looked at again from its sides
OPPOSITE = 120.0  # ... beyond which it stands on its head
AGREED = 25.0  # degrees by which two looks at one face may differ


@dataclass(frozen=True)
class UprightFaces:
    """The faces in a photo, after it was turned."""

    faces: list[Landmarks]  # largest first, in pixels of the turned photo
    turns: int  # by how many right angles it was turned, anticlockwise, 0 to 3


def search_upright(detector: FaceDetector, rgb: np.ndarray, chosen: int = 0) -> UprightFaces:
    """The faces in an sRGB photo [H, W, 3] uint8, turned so that the one that is wanted is upright.

    Parameters
    ----------
    chosen: number of the face that is wanted, 0 being the largest.
    """
    for turns in (0, 2, 1, 3):
        turned = np.ascontiguousarray(np.rot90(rgb, turns))
        faces = search(detector, turned, chosen + 1)
        if faces:
            break
    else:
        return UprightFaces([], 0)
    if chosen >= len(faces):
        return UprightFaces(faces, turns)
    more = turns_of(faces[chosen]) or _turns_seen_from_the_sides(detector, turned, faces[chosen])
    if more:
        again = search(detector, np.ascontiguousarray(np.rot90(turned, more)), chosen + 1)
        if chosen < len(again):
            return UprightFaces(again, (turns + more) % 4)
    return UprightFaces(faces, turns)


def turns_of(face: Landmarks) -> int:
    """By how many right angles a picture must be turned, anticlockwise, so that a face in it is upright."""
    angle = _roll(face)
    return round(angle / 90) % 4 if abs(angle) > LYING else 0


def _roll(face: Landmarks) -> float:
    """By how many degrees a face is turned clockwise from upright, -180 to 180."""
    right, left = (
        face.points[list(ring)].mean(0) for ring in (face.topology.right_eye, face.topology.left_eye)
    )
    across = left - right
    return math.degrees(math.atan2(across[1], across[0]))


def _turns_seen_from_the_sides(detector: FaceDetector, rgb: np.ndarray, face: Landmarks) -> int:
    """`turns_of` a face that was seen tilted or upright, as it is seen in the picture around it on either side.

    2 where it is upside down from both sides, or from one of them alone, unless looks at it as it is agree:
    bald heads and busts are seen so. A quarter where a face that was seen tilted proves to lie, because lying
    faces that are small are seen badly.
    """
    x0, y0, x1, y1 = face_box(face)
    margin = (x1 - x0) / 4
    left, top = max(round(x0 - margin), 0), max(round(y0 - margin), 0)
    around = rgb[top : round(y1 + margin), left : round(x1 + margin)]
    tilts = {}  # of the face in the turned picture
    for turns in (1, 3):
        seen = detector.detect(np.ascontiguousarray(np.rot90(around, turns)))
        if seen:
            tilts[turns] = _roll(max(seen, key=lambda one: float(np.ptp(one.points, axis=0).prod())))
    upright = _roll(face)
    rolls = {turns: _wrapped(tilt + 90 * turns) for turns, tilt in tilts.items()}  # in the picture as it is
    if any(abs(_wrapped(roll - upright)) < AGREED for roll in rolls.values()):
        return 0  # what the other side sees is no face: upside down from there, or nearly
    if rolls and all(abs(roll) > OPPOSITE for roll in rolls.values()):
        return 0 if is_steady(detector, rgb, face) else 2
    if abs(upright) > TILTED and tilts:
        turns = min(tilts, key=lambda one: abs(tilts[one]))
        return turns if abs(tilts[turns]) < TILTED else 0
    return 0


def _wrapped(angle: float) -> float:
    """An angle in degrees, as one from -180 to 180."""
    return (angle + 180) % 360 - 180
