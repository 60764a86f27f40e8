"""Landmarks that several looks at one face agree on.

A single look's points are 0.6 to 0.8 % of the distance between the outer corners of the eyes away from the
mean of many (four portraits). Means of `LOOKS` looks at slightly different copies, half of them mirrored,
differ by 0.1 to 0.3 % between a face, its mirror image and a smaller picture of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from nextface.landmarks.detection.blendshapes import mirrored_name
from nextface.landmarks.detection.tiles import FaceDetector
from nextface.landmarks.points import Landmarks, face_box

LOOKS = 12
SIDE = 384  # pixels of each copy
FACE_SHARE = 0.5  # of a copy's side that the face's longer side takes up, on average
TURN, ZOOM, SHIFT = 10.0, 0.15, 0.06  # at most: degrees, logarithm of the scale, share of the copy's side
SAME_FACE = 0.15  # mean distance, over the face's size, within which two looks are at one face
FEWEST_LOOKS = LOOKS // 2  # that must agree
STEADY = 0.02  # median distance, over the face's size, within which looks at a real face stay


@dataclass(frozen=True)
class _Look:
    """A copy of the picture around a face."""

    to_copy: np.ndarray  # [2, 3] from pixels of the picture
    mirrored: bool


def can_average(face: Landmarks) -> bool:
    """Whether a face's detector is one whose points can be averaged: their mirror images are known."""
    return bool(face.topology.mirror)


def averaged(detector: FaceDetector, rgb: np.ndarray, face: Landmarks) -> Landmarks | None:
    """The mean of what a detector sees of a face whose place is known.

    Points, depth and expression scores are averaged.

    Parameters
    ----------
    rgb: sRGB picture [H, W, 3] uint8.
    face: the same face, found before or expected there, in pixels of the picture.

    Returns
    -------
    None where the detector does not see the face in at least `FEWEST_LOOKS` copies, or is one whose points
    cannot be averaged.
    """
    found = _found_again(detector, rgb, face)
    if len(found) < FEWEST_LOOKS:
        return None
    depths = [one.depth for one in found if one.depth is not None]
    names = found[0].blendshapes
    return Landmarks(
        face.detector,
        np.mean([one.points for one in found], axis=0),
        np.mean(depths, axis=0) if len(depths) == len(found) else None,
        {name: float(np.mean([one.blendshapes[name] for one in found])) for name in names},
    )


def is_steady(detector: FaceDetector, rgb: np.ndarray, face: Landmarks) -> bool:
    """Whether a face that was found in a picture [H, W, 3] uint8 is one: then looks at it agree.

    On portraits of all kinds their median distance is 0.2 to 1.5 % of the face's size. Where a detector takes
    something else for a face, such as one upside down, it is 3 % and more, or there is none in some copies.
    """
    found = _found_again(detector, rgb, face)
    return len(found) == LOOKS and float(np.median([_away(one, face) for one in found])) < STEADY


def _found_again(detector: FaceDetector, rgb: np.ndarray, face: Landmarks) -> list[Landmarks]:
    """The face in each of the copies in which it is seen, in pixels of the picture."""
    if not can_average(face):
        return []
    cropped, to_crop = _around(rgb, face)
    found = []
    for look in _looks(face.transformed(to_crop)):
        seen = (_as_seen(other, look, to_crop) for other in detector.detect(_copied(cropped, look)))
        same = next((one for one in seen if _away(one, face) < SAME_FACE), None)
        if same is not None:
            found.append(same)
    return found


def _away(one: Landmarks, face: Landmarks) -> float:
    """Mean distance of points from a face's, over its size."""
    return float(np.linalg.norm(one.points - face.points, axis=1).mean() / _size(face))


def _size(face: Landmarks) -> float:
    """The longer side of the points' bounding box, pixels."""
    return float(np.ptp(face.points, axis=0).max())


def _around(rgb: np.ndarray, face: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """The picture around a face, no larger than copies of it need, and [2, 3] from the picture's pixels."""
    x0, y0, x1, y1 = face_box(face)
    margin = (x1 - x0) / 2  # a copy shows more than the box, and turned
    height, width = rgb.shape[:2]
    left, top = (int(np.clip(start - margin, 0, end - 1)) for start, end in ((x0, width), (y0, height)))
    right, bottom = (int(np.clip(stop + margin, 1, end)) for stop, end in ((x1, width), (y1, height)))
    part = rgb[top : max(bottom, top + 1), left : max(right, left + 1)]
    shrink = min(SIDE * FACE_SHARE / _size(face), 1.0)
    across, down = (max(round(length * shrink), 1) for length in part.shape[1::-1])
    scale = np.array([across / part.shape[1], down / part.shape[0]])
    smaller = cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA) if shrink < 1 else part
    return np.ascontiguousarray(smaller), np.column_stack([np.diag(scale), -scale * (left, top)])


def _looks(face: Landmarks) -> list[_Look]:
    """Copies whose turns, scales and shifts fill their ranges evenly (Kronecker's sequence)."""
    middle = (face.points.min(0) + face.points.max(0)) / 2
    scale = SIDE * FACE_SHARE / _size(face)
    spread = 2 * (np.outer(np.arange(1, LOOKS + 1), np.sqrt([2.0, 3.0, 5.0, 7.0])) % 1) - 1
    looks = []
    for number, (turn, zoom, *shift) in enumerate(spread):
        angle, mirrored = math.radians(TURN * turn), bool(number % 2)
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = scale * math.exp(ZOOM * zoom) * (turned * [[-1.0], [1.0]] if mirrored else turned)
        place = SIDE * (0.5 + SHIFT * np.array(shift)) - matrix @ middle
        looks.append(_Look(np.column_stack([matrix, place]), mirrored))
    return looks


def _copied(rgb: np.ndarray, look: _Look) -> np.ndarray:
    """The copy [SIDE, SIDE, 3] uint8."""
    linear, place = look.to_copy[:, :2], look.to_copy[:, 2]
    between_centres = np.column_stack([linear, place + linear @ (0.5, 0.5) - 0.5])  # OpenCV counts from these
    return cv2.warpAffine(
        rgb, between_centres, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _as_seen(found: Landmarks, look: _Look, to_crop: np.ndarray) -> Landmarks:
    """What was found in a copy, in pixels of the picture."""
    back = cv2.invertAffineTransform(look.to_copy @ np.vstack([to_crop, [0, 0, 1]]))
    seen = found.transformed(back)
    if not look.mirrored:
        return seen
    partner = list(seen.topology.mirror)
    return replace(
        seen,
        points=seen.points[partner],
        depth=None if seen.depth is None else seen.depth[partner],
        blendshapes={mirrored_name(name): score for name, score in seen.blendshapes.items()},
    )
