"""Areas of the face in a picture, drawn from landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from nextface.landmarks.points import Landmarks, outline

# All shares below are of the face's size, the square root of its outline's area.
RIM = 0.015  # cut off inside the outline, where landmarks are least sure
LID = 0.02  # added around the eyes, for lashes and lid edges
BROW = 0.02  # added around the brows
CERTAIN_RIM = 0.13  # hair and background keep this far from the outline, on cheeks


@dataclass(frozen=True)
class FaceZones:
    """Areas of one face, each [h, w] bool in one picture."""

    outline: np.ndarray  # all of the face, from chin to hairline
    oval: np.ndarray  # the outline, slightly inset, less eyes and the mouth's opening
    brows: np.ndarray
    eyes: np.ndarray  # with lashes and lid edges
    certain: np.ndarray  # cheeks and nose below the eyes: skin unless something covers them
    forehead: np.ndarray  # above the line of the brows, less brows
    lower: np.ndarray  # below the nose: lips, and skin or beard
    size: float  # of the face in pixels: the square root of its outline's area


def filled(height: int, width: int, *polygons: np.ndarray) -> np.ndarray:
    """The pixels [h, w] bool of a height x width picture that lie in any of some polygons [P, 2] (pixels)."""
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        # OpenCV counts pixels at their centres; four fractional bits keep the sub-pixel position.
        cv2.fillPoly(canvas, [np.round((polygon - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return canvas.astype(bool)


def face_zones(landmarks: Landmarks, height: int, width: int) -> FaceZones:
    """The zones of a face whose landmarks are pixels of a height x width picture."""
    points, topology = landmarks.points, landmarks.topology

    area = partial(filled, height, width)
    # The hull: seen from the side, the contour's far points lie behind the cheek. The nose may stick out.
    whole = area(_hull(outline(landmarks)), _hull(points[list(topology.nose)]))
    size = float(np.sqrt(whole.sum()))
    eyes = area(points[list(topology.right_eye)], points[list(topology.left_eye)])
    mouth = area(points[list(topology.lips_inner)])
    brows = area(_hull(points[list(topology.right_brow)]), _hull(points[list(topology.left_brow)]))
    eyes = _grown(eyes, LID * size) & whole
    oval = _shrunk(whole, RIM * size) & ~eyes & ~mouth
    level = _level(landmarks, height, width)
    cheeks = (level > 0.4) & (level < 1) & _shrunk(whole, CERTAIN_RIM * size)
    brow_line = float(np.mean(level[brows])) if brows.any() else -0.4
    brows = _grown(brows, BROW * size) & oval
    return FaceZones(
        outline=whole,
        oval=oval,
        brows=brows,
        eyes=eyes,
        certain=cheeks & oval,
        forehead=(level < brow_line) & oval & ~brows,
        lower=(level >= 1) & oval,
        size=size,
    )


def _level(landmarks: Landmarks, height: int, width: int) -> np.ndarray:
    """How far down the face each pixel lies, [h, w]: 0 on the line of the eyes, 1 at the nose's base."""
    points, topology = landmarks.points, landmarks.topology
    right, left = points[list(topology.right_eye)].mean(0), points[list(topology.left_eye)].mean(0)
    across, down = left - right, points[topology.nose_base] - (right + left) / 2
    normal = np.array([-across[1], across[0]])
    rows, columns = np.mgrid[:height, :width] + 0.5
    offset = np.stack([columns, rows], -1) - right
    return (offset @ normal) / (down @ normal)


def _hull(points: np.ndarray) -> np.ndarray:
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def _shrunk(mask: np.ndarray, distance: float) -> np.ndarray:
    """The pixels of a mask that lie further inside than `distance`; the picture's edge is no border."""
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) > distance


def _grown(mask: np.ndarray, distance: float) -> np.ndarray:
    """The pixels within `distance` of a mask."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) <= distance
