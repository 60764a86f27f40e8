"""MediaPipe's FaceLandmarker networks in OpenCV, for machines where mediapipe cannot start.

The three networks of the packaged bundle, joined as MediaPipe's face landmarker joins them: a
short-range BlazeFace detector (Bazarevsky et al. 2019) on the whole picture; a face mesh network on a
square around each face, turned so that the eyes are level; a blendshape network on its points.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from nextface.errors import MissingPartError
from nextface.landmarks.detection import blendshapes
from nextface.landmarks.detection.weights import network_bytes
from nextface.landmarks.points import Landmarks
from nextface.system.python import pip_install

MIN_SCORE = 0.5  # of a detection, and of a face's presence in its square
SAME_FACE_OVERLAP = 0.3  # intersection over union above which detections are averaged
SQUARE_SCALE = 1.5  # side of the mesh network's square over the longer side of the detected box
DETECTOR_SIDE, MESH_SIDE = 128, 256  # input sizes of the networks in pixels


class OpenCVDetector:
    """Finds faces and their 478 landmarks."""

    def __init__(self) -> None:
        """Load the networks.

        Raises
        ------
        MissingPartError: this OpenCV cannot load them, or the weights are missing.
        """
        self._detector = _load("face_detector")
        self._mesh = _load("face_landmarks_detector")
        self._blendshapes = _load("face_blendshapes")
        self._anchors = _anchor_centres()

    def __enter__(self) -> OpenCVDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: the networks are ordinary memory."""

    def detect(self, rgb: np.ndarray) -> list[Landmarks]:
        """The faces in an sRGB image [H, W, 3] uint8, the surest first."""
        faces = []
        for corners, eyes in self._find(rgb):
            side = SQUARE_SCALE * float((corners[1] - corners[0]).max())
            across = eyes[1] - eyes[0]
            angle = float(np.arctan2(across[1], across[0]))
            face = self._fit_mesh(rgb, _square_to_image(corners.mean(0), side, angle, MESH_SIDE))
            if face is not None:
                faces.append(face)
        return faces

    def _find(self, rgb: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Upper-left and lower-right corners [2, 2] and the eyes [2, 2] of each face, in image pixels."""
        height, width = rgb.shape[:2]
        to_image = _square_to_image(np.array([width / 2, height / 2]), max(height, width), 0.0, DETECTOR_SIDE)
        square = _warp(rgb, to_image, DETECTOR_SIDE, edge_continues=False)
        outputs = _run(self._detector, square / 127.5 - 1, ("regressors", "classificators"))
        logits = outputs[1].reshape(-1).clip(-80, 80)
        scores = 1 / (1 + np.exp(-logits))
        # Box centre, box size and six key points, of which the first two are the eyes.
        values = outputs[0].reshape(len(scores), 8, 2)
        centres, halves = values[:, 0] + self._anchors, values[:, 1] / 2
        boxes = np.stack([centres - halves, centres + halves], 1)
        eyes = values[:, 2:4] + self._anchors[:, None]
        sure = scores >= MIN_SCORE
        found = _average_overlapping(np.concatenate([boxes, eyes], 1)[sure], scores[sure])
        return [tuple((face @ to_image[:, :2].T + to_image[:, 2]).reshape(2, 2, 2)) for face in found]

    def _fit_mesh(self, rgb: np.ndarray, to_image: np.ndarray) -> Landmarks | None:
        """The face in one square of the image, or None where the network sees none there."""
        square = _warp(rgb, to_image, MESH_SIDE, edge_continues=True)
        mesh, presence = _run(self._mesh, square / 255, ("Identity", "Identity_1"))
        if 1 / (1 + np.exp(-presence.item())) < MIN_SCORE:
            return None
        values = mesh.reshape(478, 3).astype(np.float64)
        points = values[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        depth = values[:, 2] * np.hypot(*to_image[:, 0])
        picked = points[list(blendshapes.INPUT_POINTS)].astype(np.float32)[None]
        self._blendshapes.setInput(picked)
        scores = self._blendshapes.forward().reshape(-1)
        named = {name: float(score) for name, score in zip(blendshapes.NAMES, scores, strict=True)}
        del named["_neutral"]
        return Landmarks("mediapipe", points, depth, named)


def _load(name: str) -> Any:  # cv2.dnn.Net: OpenCV ships no usable type for it
    """One network of the bundle, in OpenCV's own engine, which runs it correctly."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.tflite"
        path.write_bytes(network_bytes(name))
        try:
            return cv2.dnn.readNetFromTFLite(str(path), engine=cv2.dnn.ENGINE_CLASSIC)
        except (AttributeError, TypeError, cv2.error) as error:
            raise MissingPartError(
                f"This OpenCV ({cv2.__version__}) cannot load the landmark networks ({error}). "
                f"Run `{pip_install('opencv-contrib-python-headless>=5')}`."
            ) from None


def _run(network: Any, pixels: np.ndarray, outputs: tuple[str, ...]) -> list[np.ndarray]:
    """The named outputs of a network for one picture [side, side, 3]."""
    network.setInput(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32))
    return [np.asarray(output) for output in network.forward(outputs)]


def _anchor_centres() -> np.ndarray:
    """Where the 896 boxes of the detector are counted from, [896, 2] in pixels of its input.

    Two boxes at each cell of a 16 x 16 grid, then six at each cell of an 8 x 8 grid.
    """
    grids = []
    for cell, boxes in ((8, 2), (16, 6)):
        centre = np.arange(cell / 2, DETECTOR_SIDE, cell)
        grid = np.stack(np.meshgrid(centre, centre), -1).reshape(-1, 2)
        grids.append(np.repeat(grid, boxes, 0))
    return np.concatenate(grids)


def _average_overlapping(values: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """One face for each cluster of overlapping detections: their mean, weighted by score.

    Parameters
    ----------
    values: [D, K, 2] points of each detection, its box's corners first.
    scores: [D].
    """
    faces = []
    remaining = np.argsort(-scores, kind="stable")
    while len(remaining):
        best = values[remaining[0], :2]
        low = np.maximum(values[remaining, 0], best[0])
        high = np.minimum(values[remaining, 1], best[1])
        shared = (high - low).clip(0).prod(1)
        areas = (values[remaining, 1] - values[remaining, 0]).prod(1)
        same = shared / (areas + areas[0] - shared) > SAME_FACE_OVERLAP
        same[0] = True
        cluster = remaining[same]
        faces.append(np.average(values[cluster], axis=0, weights=scores[cluster]))
        remaining = remaining[~same]
    return faces


def _square_to_image(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """Affine map [2, 3] from a size x size picture to the turned square of an image that fills it."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn * (side / size)
    return np.concatenate([linear, (centre - linear @ np.full(2, size / 2))[:, None]], 1)


def _warp(rgb: np.ndarray, to_image: np.ndarray, size: int, edge_continues: bool) -> np.ndarray:
    """The size x size picture that `to_image` cuts out of an image, float32; black or smeared outside."""
    import cv2

    # MediaPipe takes corner positions for pixel centres here. Doing the same gives the same points; the
    # half pixel is within the networks' own error.
    border = cv2.BORDER_REPLICATE if edge_continues else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(rgb, to_image, (size, size), flags=flags, borderMode=border).astype(np.float32)
