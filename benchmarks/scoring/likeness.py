"""A photo beside the reconstruction laid over it: landmarks found in both, and differences of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from nextface.errors import FaceNotFoundError
from nextface.landmarks import MEDIAPIPE, Landmarks
from nextface.landmarks.detection import detect
from nextface.landmarks.points import outline
from nextface.landmarks.zones import filled
from nextface.photos.photo import Photo

_LIDS = (*MEDIAPIPE.right_eye, *MEDIAPIPE.left_eye)
_IRIS = (*MEDIAPIPE.right_iris, *MEDIAPIPE.left_iris)
_LIPS = (*MEDIAPIPE.lips_outer, *MEDIAPIPE.lips_inner)
_BROWS = (*MEDIAPIPE.right_brow, *MEDIAPIPE.left_brow)

PARTS = {
    "lids": _LIDS,
    "iris": _IRIS,
    "lips": _LIPS,
    "brows": _BROWS,
    "nose": MEDIAPIPE.nose,
    "all": tuple(range(MEDIAPIPE.count)),
}
JAW = slice(6, 31)  # of the contour: jaw and cheeks from ear to ear, without the hairline
COLUMNS = (*PARTS, "jaw")
FEWEST_SEEN = 0.1  # share of an area that must be seen, or its PSNR says nothing
SHEET = 640  # pixels, the side of each picture of a sheet
PHOTO_COLOUR, OVERLAY_COLOUR = (60, 255, 90), (255, 60, 200)


@dataclass(frozen=True)
class Likeness:
    """How near the overlay is to the photo."""

    photo: np.ndarray  # [h, w, 3] uint8 sRGB
    overlay: np.ndarray  # [h, w, 3] uint8 sRGB, the reconstruction over the photo
    points: np.ndarray  # [478, 2] pixels, of the photo
    found_again: np.ndarray | None  # [478, 2] pixels, of the overlay; None where no face is found
    offsets: dict[str, float | None]  # % of the outer eye distance, means; of the jaw, across it
    psnr: dict[str, float]  # dB over "eyes" (openings), "mouth" (with lips) and the "rest" of the oval
    seen_psnr: dict[str, float]  # the same where outlines say that the face is seen; NaN where it is not


def compare_faces(
    photo: np.ndarray,
    reconstruction: np.ndarray,
    detector: str = "mediapipe",
    seen: np.ndarray | None = None,
) -> Likeness:
    """Compare a photo [h, w, 3] uint8 with a reconstruction [h, w, 4] uint8 (straight alpha) laid over it.

    Parameters
    ----------
    seen: [h, w] bool, where the face is not hidden; without it, nobody knows.

    Raises
    ------
    FaceNotFoundError: if the detector finds no face in the photo.
    """
    share = reconstruction[..., 3:] / 255.0
    overlay = np.round(reconstruction[..., :3] * share + photo * (1 - share)).astype(np.uint8)
    points = _points(photo, detector)
    try:
        found = _points(overlay, detector)
    except FaceNotFoundError:
        found = None
    eyes = np.linalg.norm(np.subtract(*points[[MEDIAPIPE.right_eye[0], MEDIAPIPE.left_eye[0]]]))
    offsets: dict[str, float | None] = dict.fromkeys(COLUMNS)
    if found is not None:
        away = 100 * np.linalg.norm(found - points, axis=1) / eyes
        offsets = {part: float(away[list(numbers)].mean()) for part, numbers in PARTS.items()}
        offsets["jaw"] = 100 * _across(points, found) / float(eyes)
    error = np.square(photo.astype(float) - overlay).mean(-1)
    areas = face_areas(points, *photo.shape[:2])
    psnr = {name: _psnr(error[area]) for name, area in areas.items()}
    seen_psnr = {
        name: math.nan
        if seen is None or (area & seen).sum() < FEWEST_SEEN * area.sum()
        else _psnr(error[area & seen])
        for name, area in areas.items()
    }
    return Likeness(photo, overlay, points, found, offsets, psnr, seen_psnr)


def _psnr(errors: np.ndarray) -> float:
    """dB of squared errors [P] of 8-bit values; NaN where there are none."""
    return float(10 * np.log10(255.0**2 / max(errors.mean(), 1e-3))) if errors.size else math.nan


def _across(points: np.ndarray, others: np.ndarray) -> float:
    """Mean distance of the points of the jaw from others [P, 2], across its line; along it, they slide."""
    line = points[list(MEDIAPIPE.contour)]
    along = np.roll(line, -1, 0) - np.roll(line, 1, 0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    away = ((others[list(MEDIAPIPE.contour)] - line) * across).sum(1)
    return float(np.abs(away[JAW]).mean())


def face_areas(points: np.ndarray, height: int, width: int) -> dict[str, np.ndarray]:
    """Eye openings, the mouth with its lips, and the rest of the face's oval, each [h, w] bool."""
    area = partial(filled, height, width)
    eyes = area(points[list(MEDIAPIPE.right_eye)], points[list(MEDIAPIPE.left_eye)])
    mouth = area(points[list(MEDIAPIPE.lips_outer)])
    oval = area(outline(Landmarks("mediapipe", points)))
    return {"eyes": eyes & oval, "mouth": mouth & oval, "rest": oval & ~eyes & ~mouth}


def sheet(likeness: Likeness) -> np.ndarray:
    """Photo, overlay, both with points, and eyes and mouth of both enlarged: [.., .., 3] uint8."""
    top = [likeness.photo, likeness.overlay]
    rows = [np.hstack([_enlarged(picture, SHEET) for picture in (*top, _marked(likeness))])]
    for polygon in ((*_LIDS, *_BROWS), _LIPS):
        x0, y0, x1, y1 = _around(likeness.points[list(polygon)], likeness.photo.shape)
        rows.append(np.hstack([_enlarged(picture[y0:y1, x0:x1], 3 * SHEET // 2) for picture in top]))
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _points(picture: np.ndarray, detector: str) -> np.ndarray:
    photo = Photo(Path("picture"), picture.astype(np.float32) / 255, None)
    return detect(photo, detector, may_turn=False).landmarks.points


def _marked(likeness: Likeness) -> np.ndarray:
    """The photo with the points of both pictures."""
    scale = SHEET / max(likeness.photo.shape[:2])
    picture = np.ascontiguousarray(_enlarged(likeness.photo, SHEET))
    for points, colour in ((likeness.points, PHOTO_COLOUR), (likeness.found_again, OVERLAY_COLOUR)):
        for x, y in () if points is None else points * scale:
            cv2.circle(picture, (round(x), round(y)), 1, colour, -1, cv2.LINE_AA)
    return picture


def _around(points: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    margin = 0.15 * (x1 - x0)
    left, top = max(int(x0 - margin), 0), max(int(y0 - margin), 0)
    return left, top, min(int(x1 + margin), shape[1]), min(int(y1 + margin), shape[0])


def _enlarged(picture: np.ndarray, longest: int) -> np.ndarray:
    scale = longest / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
