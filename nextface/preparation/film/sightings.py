"""One pass over a film: where the face is in every frame, how sharp it is, and how much the picture changes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from nextface.landmarks.detection.blendshapes import NAMES
from nextface.landmarks.detection.tiles import FaceDetector, search
from nextface.landmarks.points import Landmarks, face_box, face_width, outline_box
from nextface.landmarks.topology import TOPOLOGIES
from nextface.videos.records import Records
from nextface.videos.video import Video

SCORES = NAMES[1:]  # the detector's, without "neutral", which is no expression
SMALLEST_FACE = 32  # pixels across the outline, below which a frame's face is not followed
LONGEST_SIDE = 960  # pixels of a frame that is searched as a whole
AROUND = 512  # pixels at most of the part around a face in which it is looked for again
SEARCHED_CLOSELY = 30  # of so many frames without a face, one is searched in parts, too
LEAST_STEP = 1e-3  # seconds between frames
SAME_FACE = 0.2  # overlap of two frames' faces, over their union
THUMBNAIL = (32, 18)  # columns and rows, by which frames are compared
FACE_SIDE = 96  # pixels at which sharpness is measured
LIT_SIDE = 4  # parts along each side of a face whose colours tell the light


def scheme_of(detector: str) -> str:
    """The landmark scheme of a detector that the configuration names."""
    return "mediapipe" if detector == "opencv" else detector


def sighting_type(scheme: str) -> np.dtype:
    """What is kept of each frame, with landmarks of some scheme."""
    points = TOPOLOGIES[scheme].count
    return np.dtype(
        [
            ("stamp", "<i8"),  # the film's time stamp
            ("time", "<f8"),  # seconds from the first frame
            ("found", "?"),
            (
                "points",
                "<f4",
                (points, 2),
            ),  # landmarks in pixels of the frame, upright; 0 where there is no face
            ("scores", "<f4", (len(SCORES),)),  # the detector's expression scores
            ("sharpness", "<f4"),  # of the face; only to be compared within a film
            ("unlike", "<f4"),  # mean difference of the whole picture from the last one, in [0, 1]
            ("light", "<f4", (LIT_SIDE, LIT_SIDE, 3)),  # mean sRGB of the face's parts, in [0, 1]
        ]
    )


def scan(
    video: Video, scheme: str, detector: FaceDetector, face: int, records: Records, seen: Callable[[], None]
) -> None:
    """Look at every frame that the records do not hold yet, and add it to them.

    Parameters
    ----------
    scheme: of the detector's landmarks.
    face: which face to follow where one is seen for the first time, or again: 0 is the largest.
    seen: called after each frame.
    """
    first = len(records)
    last = records.read(first - 1, first)
    faces = Follower(detector, face)
    latest = float(last["time"][0]) if first else -LEAST_STEP
    before: np.ndarray | None = None
    if first:
        faces.last = landmarks_of(last[0], scheme)
    stamp = int(last["stamp"][0]) if first else None
    for frame in video.frames(max(first - 1, 0), stamp):
        small = cv2.resize(frame.rgb, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        if frame.number >= first:
            record = np.zeros((), records.kind)
            latest = max(frame.time, latest + LEAST_STEP)  # damaged files have stamps that stand still
            record["stamp"], record["time"] = frame.stamp, latest
            record["unlike"] = 0 if before is None else np.abs(small - before).mean()
            found = faces.follow(frame.rgb)
            if found is not None:
                record["found"], record["points"] = True, found.points
                record["scores"] = [found.blendshapes.get(score, 0) for score in SCORES]
                record["sharpness"], record["light"] = _looks(frame.rgb, found)
            records.append(record)
            seen()
        before = small


class Follower:
    """Finds one face in frame after frame."""

    def __init__(self, detector: FaceDetector, face: int = 0) -> None:
        self._detector, self._face = detector, face
        self._without = 0  # frames since it was last seen
        self.last: Landmarks | None = None  # where it was seen last

    def follow(self, rgb: np.ndarray) -> Landmarks | None:
        """The face in a frame [H, W, 3] uint8, in its pixels: near where it was last, else the one wanted."""
        found = None
        if self.last is not None and self._without == 0:
            found = self._near(rgb, self.last)
        if found is None:
            found = self._anywhere(rgb)
        self._without = 0 if found is not None else self._without + 1
        self.last = found or self.last
        return found

    def _near(self, rgb: np.ndarray, last: Landmarks) -> Landmarks | None:
        """The face, looked for around where it was."""
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = face_box(last)
        margin = (x1 - x0) / 4
        left, top = (int(np.clip(low - margin, 0, size - 1)) for low, size in ((x0, width), (y0, height)))
        right, bottom = (int(np.clip(high + margin, 1, size)) for high, size in ((x1, width), (y1, height)))
        if right - left < 2 or bottom - top < 2:
            return None
        faces = self._seen(rgb[top:bottom, left:right], AROUND, left, top)
        return max(
            (one for one in faces if overlap(one, last) > SAME_FACE),
            key=lambda one: overlap(one, last),
            default=None,
        )

    def _anywhere(self, rgb: np.ndarray) -> Landmarks | None:
        """The face after it was not seen: where it was, if there is one, else the one wanted, by size."""
        faces = self._seen(rgb, LONGEST_SIDE, 0, 0)
        if not faces and self._without % SEARCHED_CLOSELY == 0:
            faces = search(self._detector, rgb, self._face + 1)
        faces = sorted((one for one in faces if face_width(one) >= SMALLEST_FACE), key=face_width, reverse=True)
        if self.last is not None:
            where = self.last
            again = max(faces, key=lambda one: overlap(one, where), default=None)
            if again is not None and overlap(again, where) > SAME_FACE:
                return again
        if not faces:
            return None
        chosen = faces[min(self._face, len(faces) - 1)]
        return self._near(rgb, chosen) or chosen  # looked at as in the frames to come

    def _seen(self, rgb: np.ndarray, longest: int, left: int, top: int) -> list[Landmarks]:
        """Faces in a part of a frame that starts at (left, top), reduced to `longest` pixels; in its pixels."""
        shrink = min(longest / max(rgb.shape[:2]), 1.0)
        size = tuple(max(round(length * shrink), 1) for length in rgb.shape[1::-1])
        small = rgb if shrink == 1 else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        back = np.array([[rgb.shape[1] / size[0], 0, left], [0, rgb.shape[0] / size[1], top]])
        return [one.transformed(back) for one in self._detector.detect(np.ascontiguousarray(small))]


def overlap(one: Landmarks, other: Landmarks) -> float:
    """Intersection over union of two faces' outline boxes."""
    a, b = outline_box(one), outline_box(other)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return shared / max(areas - shared, 1e-6)


def landmarks_of(record: np.void, scheme: str) -> Landmarks | None:
    """A frame's landmarks, or None where no face was found."""
    if not record["found"]:
        return None
    scores = dict(zip(SCORES, record["scores"].tolist(), strict=True))
    return Landmarks(scheme, record["points"].astype(np.float64), None, scores)


def _looks(rgb: np.ndarray, face: Landmarks) -> tuple[float, np.ndarray]:
    """A face's sharpness, and its colours [LIT_SIDE, LIT_SIDE, 3].

    Sharpness is the standard deviation of the Laplacian of the face at a fixed size, over that of its grey
    values (after Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study",
    ICPR 2000).
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = outline_box(face)
    left, top = (int(np.clip(low, 0, size - 2)) for low, size in ((x0, width), (y0, height)))
    right = int(np.clip(x1, left + 2, width))
    bottom = int(np.clip(y1, top + 2, height))
    part = cv2.resize(rgb[top:bottom, left:right], (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).std() / max(grey.std(), 1.0))
    colours = cv2.resize(part, (LIT_SIDE, LIT_SIDE), interpolation=cv2.INTER_AREA)
    return sharpness, colours.astype(np.float32) / 255
