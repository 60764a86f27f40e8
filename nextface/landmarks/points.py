"""The landmarks of one face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from nextface.landmarks.topology import TOPOLOGIES, Topology

CROP_MARGIN = 1.5  # side of the crop over the longer side of the face's outline


@dataclass(frozen=True)
class Landmarks:
    """Points of one face, in the order of its detector's topology."""

    detector: str  # whose topology it is: "mediapipe" (478 points) or "fan" (68 points)
    points: np.ndarray  # [P, 2] float64, pixels
    depth: np.ndarray | None = None  # [P] float64, roughly pixels, smaller is nearer; None where unknown
    blendshapes: Mapping[str, float] = field(default_factory=dict)  # ARKit name -> score in [0, 1]

    @property
    def topology(self) -> Topology:
        """What each point is."""
        return TOPOLOGIES[self.detector]

    def transformed(self, matrix: np.ndarray) -> Landmarks:
        """These landmarks in other pixels: `matrix` [2, 3] maps the old ones to the new ones.

        Depth is scaled as lengths are.
        """
        scale = abs(np.linalg.det(matrix[:, :2])) ** 0.5
        depth = None if self.depth is None else self.depth * scale
        return replace(self, points=self.points @ matrix[:, :2].T + matrix[:, 2], depth=depth)


def outline(landmarks: Landmarks) -> np.ndarray:
    """The face's outline from chin to hairline, a closed polygon [K, 2] in pixels.

    The 68-point scheme ends at the brows. Its forehead is drawn half as high above them as the base of
    the nose lies below, which is where the 478 points end.
    """
    points, topology = landmarks.points, landmarks.topology
    contour = points[list(topology.contour)]
    if topology.contour_closed:
        return contour
    brows = points[list(topology.right_brow + topology.left_brow)]
    up = 0.5 * (brows.mean(0) - points[topology.nose_base])
    return np.concatenate([contour, (brows + up)[::-1]])


def outline_box(landmarks: Landmarks) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) around the face from chin to hairline."""
    polygon = outline(landmarks)
    (x0, y0), (x1, y1) = polygon.min(0), polygon.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def share_outside(landmarks: Landmarks, width: int, height: int) -> float:
    """How much of the face's outline lies outside a picture of this size, as a share of its area."""
    hull = cv2.convexHull(outline(landmarks).astype(np.float32))
    picture = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inside, _ = cv2.intersectConvexConvex(hull, picture[:, None])
    return 1 - inside / max(cv2.contourArea(hull), 1e-6)


def face_width(landmarks: Landmarks) -> float:
    """Width of the face's outline in pixels."""
    x0, _, x1, _ = outline_box(landmarks)
    return x1 - x0


def face_box(landmarks: Landmarks) -> tuple[float, float, float, float]:
    """The square (x0, y0, x1, y1) around the face to which a photo is cropped.

    It may reach beyond the photo. Its side is `CROP_MARGIN` times the longer side of the outline.
    """
    x0, y0, x1, y1 = outline_box(landmarks)
    half = CROP_MARGIN * max(x1 - x0, y1 - y0) / 2
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half
