"""One photo, ready to be fitted: a value that goes through all stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from torch import Tensor

from nextface.photos.exif import CameraId
from nextface.photos.frame import Frame
from nextface.photos.lens import Lens
from nextface.photos.observation import Observation


@dataclass(frozen=True)
class DetectedLandmarks:
    """What a detector says of the face in the processed photo."""

    detector: str  # "mediapipe" (478 points) or "fan" (68 points)
    points: Tensor  # [P, 2] pixels of the processed frame
    blendshapes: Mapping[str, float]  # the detector's expression scores, empty where unknown
    given: bool = False  # in a file, in place of what a detector would find

    @property
    def face_size(self) -> float:
        """Geometric mean of the width and height of the points' bounding box, pixels."""
        return size_of_face(self.points)

    def hundredths(self, pixels: Tensor) -> Tensor:
        """Distances in pixels of the processed frame as hundredths of the face's size."""
        return pixels * (100 / self.face_size)


@dataclass(frozen=True)
class LensPrior:
    """What is known of a focal length before anything is fitted."""

    focal: float  # pixels of the processed frame, the prior's median
    spread: float  # standard deviation of the focal length's logarithm
    usual: float | None = None  # pixels: with it the face is at a portrait's usual distance; None: not asked


@dataclass(frozen=True)
class Shot:
    """One photo, cropped to the face, with landmarks and the skin found.

    Everything that stages, figures and files are made from, and where it comes from. It never changes.
    """

    observation: Observation  # pixels, and which of them count
    oval: np.ndarray  # [h, w] bool, the landmarks' oval without eyes and mouth
    landmarks: DetectedLandmarks
    frame: Frame
    lens: LensPrior
    source: Path  # the photo's file
    taken: datetime | None = None  # None where unknown
    camera: CameraId | None = None  # None where unknown
    photo_size: tuple[int, int] | None = None  # of the whole photo, upright: width, height; None where unknown
    notes: tuple[str, ...] = ()  # what a user may want to know
    warnings: tuple[str, ...] = ()  # what a user ought to know
    optics: Lens | None = None  # of the uncropped photo, calibrated or assumed; None where nothing was assumed
    visible: np.ndarray | None = (
        None  # [h, w] bool, all that maps are refined from; None: what counts in the loss
    )

    @property
    def srgb8(self) -> np.ndarray:
        """[h, w, 3] 8-bit sRGB."""
        return np.round(self.observation.srgb.cpu().numpy() * 255).astype(np.uint8)

    @property
    def mask(self) -> np.ndarray:
        """[h, w] bool, pixels in the loss."""
        return self.observation.mask.cpu().numpy()

    @property
    def photo_face_size(self) -> float:
        """The face's size in pixels of the whole photo."""
        scale = np.sqrt(abs(np.linalg.det(self.frame.photo_to_image[:, :2])))
        return self.landmarks.face_size / float(scale)

    @property
    def mask_share(self) -> float:
        """How much of the oval is in the loss."""
        return float((self.mask & self.oval).sum() / max(self.oval.sum(), 1))


def size_of_face(landmarks: Tensor) -> float:
    """Geometric mean of the width and height of the bounding box of landmarks [P, 2], pixels."""
    return float((landmarks.amax(0) - landmarks.amin(0)).prod().sqrt())
