"""Where a landmark detector's points lie on a head, and which of them a photo shows."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from benchmarks.ground_truth.drawing import Studio, Surface
from benchmarks.ground_truth.heads import SKIN, Head
from nextface.landmarks import MEDIAPIPE
from nextface.landmarks.detection import detect
from nextface.photos.photo import load_photo
from nextface.scene.colour import linear_to_srgb
from nextface.scene.lighting import map_directions

Array = NDArray[np.float64]

SIZE, DISTANCE, FACE_HEIGHT = 512, 1_200.0, 330.0  # pixels; mm; mm that the frontal picture shows
SAMPLES = 16
SURE_FACING = 0.3  # n.v in the frontal picture under which a pixel is many millimetres of surface
HIDDEN_MM = 2.0  # a point this far behind what is seen is hidden


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh."""

    corners: NDArray[np.int64]  # [P, 3], of their triangles
    weights: Array  # [P, 3], barycentric
    sure: NDArray[np.bool_]  # [P], whether the picture that they were found in tells where they lie

    def at(self, vertices: Array) -> Array:
        """Positions [P, 3] on a mesh with these vertices [V, 3]."""
        return np.einsum("pk,pkc->pc", self.weights, vertices[self.corners])


def facing_camera(vertices: Array, distance: float) -> Array:
    """Model-space vertices [V, 3] in the camera frame, frontal, with their box's middle on the optical axis."""
    turned = vertices * [1, -1, -1]
    return turned - (turned.min(0) + turned.max(0)) / 2 + [0, 0, distance]


def first_met(
    pixels: Array, vertices: Array, triangles: NDArray[np.int64], studio: Studio
) -> tuple[Array, Array]:
    """What the rays through pixels [P, 2] meet first of a mesh in the camera frame.

    Returns
    -------
    Triangle numbers [P], -1 for none, and barycentric coordinates [P, 3].
    """
    corners = studio.project(vertices)[triangles]
    (left, top), (right, bottom) = corners.min(1).T.copy(), corners.max(1).T.copy()
    number, weights = np.full(len(pixels), -1), np.zeros((len(pixels), 3))
    for row, pixel in enumerate(pixels):
        near = np.flatnonzero(
            (left <= pixel[0]) & (pixel[0] <= right) & (top <= pixel[1]) & (pixel[1] <= bottom)
        )
        ray = np.array([*(pixel - studio.size / 2) / studio.focal, 1.0])
        solved = np.linalg.solve(
            vertices[triangles[near]].swapaxes(1, 2), np.tile(ray[:, None], (len(near), 1, 1))
        )
        shares = solved[..., 0]  # the ray's point at depth 1 in terms of the corners
        met = (shares >= 0).all(1)
        if met.any():
            first = np.flatnonzero(met)[shares[met].sum(1).argmax()]
            number[row], weights[row] = near[first], shares[first] / shares[first].sum()
    return number, weights


def detected(vertices: Array, head: Head, colour: Array, roughness: Array) -> SurfacePoints:
    """MediaPipe's 478 points on a head, found in an evenly lit frontal picture of it.

    Points beside the head are taken to the nearest pixel that it covers.

    Raises
    ------
    FaceNotFoundError: the detector sees no face.
    """
    placed = facing_camera(vertices, DISTANCE)
    tip = placed[(head.part == SKIN)][placed[head.part == SKIN][:, 2].argmin()]
    placed = placed - [0, tip[1], 0]
    focal = SIZE * DISTANCE / FACE_HEIGHT
    studio = Studio([Surface(placed, head.triangles, colour, roughness, 0.3)], focal, SIZE)
    front = 0.35 + np.maximum(map_directions(32).numpy()[..., 2:], 0)
    image = studio.radiance(np.repeat(front, 3, -1), SAMPLES, seed=1)
    encoded = linear_to_srgb((0.8 * image[..., :3] + 0.25 * (1 - image[..., 3:])).clip(0, 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "front.png"
        Image.fromarray(np.round(np.asarray(encoded) * 255).astype(np.uint8)).save(path)
        found = detect(load_photo(path), "opencv", may_turn=False).landmarks.points
    covered = np.argwhere(image[..., 3] > 0.999)[:, ::-1] + 0.5
    inside = image[tuple(np.clip(found[:, ::-1].astype(int), 0, SIZE - 1).T)][:, 3] > 0.999
    pixels = np.where(inside[:, None], found, covered[cKDTree(covered).query(found)[1]])
    triangle, weights = first_met(pixels, placed, head.triangles, studio)
    corners = head.triangles[triangle]
    a, b, c = placed[corners].swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    facing = -(normals * a).sum(1) / (np.linalg.norm(normals, axis=1) * np.linalg.norm(a, axis=1))
    sure = inside & (facing > SURE_FACING)
    sure[[*MEDIAPIPE.right_iris, *MEDIAPIPE.left_iris]] = False  # on the lid or on the eyeball, as eyes look
    return SurfacePoints(corners, weights, sure)


def seen(points: SurfacePoints, head: Head, placed: Array, studio: Studio) -> Array:
    """Pixels [P, 2] of points on a head with vertices `placed` [V, 3] in the camera frame; NaN where unseen.

    Unseen is what something hides, lies in the eyes or the mouth, or outside the picture; and what the frontal
    picture could not tell the place of.
    """
    positions = points.at(placed)
    pixels = studio.project(positions)
    outer = (head.part[points.corners] == SKIN).all(1)
    inside = ((pixels > 0) & (pixels < studio.size)).all(1)
    triangle, weights = first_met(pixels, placed, head.triangles, studio)
    met = np.einsum("pk,pkc->pc", weights, placed[head.triangles[triangle]])
    shown = positions[:, 2] < met[:, 2] + HIDDEN_MM
    return np.where((points.sure & outer & inside & shown)[:, None], pixels, np.nan)
