"""The front door: faces in a photo, and the one to reconstruct."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from nextface.errors import ConfigError, FaceNotFoundError, MissingPartError
from nextface.landmarks.detection.picture import save_searched
from nextface.landmarks.detection.several_looks import averaged
from nextface.landmarks.detection.tiles import FaceDetector, search
from nextface.landmarks.detection.upright import UprightFaces, search_upright
from nextface.landmarks.points import Landmarks, face_width
from nextface.photos.photo import Photo
from nextface.system.python import command

_THROUGH_OPENCV = (
    f"MediaPipe does not start here (`{command('doctor')}` says why). Its networks run in OpenCV instead, with "
    "the same landmarks to within 1 % of the distance between the eyes."
)
SMALLEST_FACE = 48  # pixels across the outline, below which there is nothing to reconstruct from


@dataclass(frozen=True)
class Detection:
    """What was found in a photo."""

    landmarks: Landmarks  # the face to reconstruct, in photo pixels, looked at closely
    faces: tuple[Landmarks, ...]  # every face found at first sight, largest first
    notes: tuple[str, ...] = ()  # what the user should know, one sentence or two each
    turns: int = 0  # by how many right angles the photo was turned, anticlockwise; all points are in it then


class _ClosingDetector(FaceDetector, AbstractContextManager["_ClosingDetector"], Protocol):
    """A detector that must be closed."""


class Detectors:
    """Detectors that are started once, when they are first asked for, and serve any number of photos."""

    def __init__(self) -> None:
        self._until_closed = ExitStack()
        self._started: dict[str, tuple[FaceDetector, tuple[str, ...]]] = {}

    def get(self, name: str) -> tuple[FaceDetector, tuple[str, ...]]:
        """A detector by its name, and what the user should know of it.

        Raises
        ------
        MissingPartError: a package or file of the detector is not here.
        """
        if name not in self._started:
            detector, notes = _start(name)
            self._started[name] = self._until_closed.enter_context(detector), tuple(notes)
        return self._started[name]

    def close(self) -> None:
        """Stop them; asked for again, they would start anew."""
        self._started.clear()
        self._until_closed.close()


def detect(
    photo: Photo,
    detector: str = "mediapipe",
    face: int | None = None,
    searched_path: Path | None = None,
    detectors: Detectors | None = None,
    may_turn: bool = True,
) -> Detection:
    """Find the faces in a photo and choose one; a photo in which it is not upright is turned.

    Parameters
    ----------
    photo: the photo.
    detector: "mediapipe" (through OpenCV where mediapipe cannot start: same weights, same points),
        "opencv" (the same without mediapipe, whose tasks report usage figures to Google) or "fan".
    face: which face to take, 0 being the largest; None takes the largest and notes the others.
    searched_path: where to save the searched picture, with the faces numbered, when there is no
        usable face or more than one.
    detectors: those that have been started; without them, one is started for this photo alone.

    may_turn: whether the photo may be turned; if not, it is searched as it is.

    Raises
    ------
    FaceNotFoundError: no face, not that many faces, or a face under `SMALLEST_FACE` pixels.
    MissingPartError: a package or file of the detector is not here.
    """
    rgb = np.round(photo.srgb * 255).astype(np.uint8)
    chosen = face or 0
    with ExitStack() as alone:
        finder, known = (detectors or alone.enter_context(closing(Detectors()))).get(detector)
        found = (
            search_upright(finder, rgb, chosen)
            if may_turn
            else UprightFaces(search(finder, rgb, wanted=chosen + 1), 0)
        )
        faces, rgb = found.faces, np.ascontiguousarray(np.rot90(rgb, found.turns))
        usable = bool(faces) and 0 <= chosen < len(faces) and face_width(faces[chosen]) >= SMALLEST_FACE
        landmarks = (averaged(finder, rgb, faces[chosen]) or faces[chosen]) if usable else None
    notes = list(known)
    saved = ""
    if searched_path is not None and (landmarks is None or len(faces) > 1):
        save_searched(searched_path, rgb, faces)
        saved = f" The picture that was searched is {searched_path}."
    if landmarks is None:
        raise FaceNotFoundError(_why_not(photo, faces, chosen) + saved)
    if len(faces) > 1 and face is None:
        notes.append(
            f"There are {len(faces)} faces in {photo.path}; the largest is taken. Choose another with "
            f"`--face N`, N from 0 (the largest) to {len(faces) - 1}.{saved}"
        )
    return Detection(landmarks, tuple(faces), tuple(notes), found.turns)


def detector_status() -> dict[str, str | None]:
    """Each detector's name with None where it starts here, else why it does not and what to do."""
    status: dict[str, str | None] = {}
    for name, start in (("mediapipe", _start_mediapipe), ("opencv", _start_opencv), ("fan", _start_fan)):
        try:
            with start():
                status[name] = None
        except MissingPartError as error:
            status[name] = str(error)
    return status


def _start(detector: str) -> tuple[_ClosingDetector, list[str]]:
    if detector == "fan":
        return _start_fan(), []
    if detector == "opencv":
        return _start_opencv(), []
    if detector != "mediapipe":
        raise ConfigError(f'There is no landmark detector "{detector}". Choose mediapipe, opencv or fan.')
    try:
        return _start_mediapipe(), []
    except MissingPartError:
        return _start_opencv(), [_THROUGH_OPENCV]


def _start_mediapipe() -> _ClosingDetector:
    from nextface.landmarks.detection.mediapipe import MediaPipeDetector

    return MediaPipeDetector()


def _start_opencv() -> _ClosingDetector:
    from nextface.landmarks.detection.opencv import OpenCVDetector

    return OpenCVDetector()


def _start_fan() -> _ClosingDetector:
    from nextface.landmarks.detection.fan import FanDetector

    return FanDetector()


def _why_not(photo: Photo, faces: list[Landmarks], chosen: int) -> str:
    """Why the chosen face cannot be used, and what to do about it."""
    height, width = photo.srgb.shape[:2]
    if not faces:
        return (
            f"No face was found in {photo.path} ({width} x {height} pixels). Use a photo in which the face is "
            "well lit and not hidden, or give its points with `--landmarks FILE.json`."
        )
    if not 0 <= chosen < len(faces):
        return f"There is no face {chosen} in {photo.path}: {len(faces)} found, numbered from 0 (the largest)."
    return (
        f"The face in {photo.path} is {face_width(faces[chosen]):.0f} pixels wide; at least {SMALLEST_FACE} "
        "are needed. Use a larger copy of the photo, or one taken from closer."
    )
