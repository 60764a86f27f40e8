"""Where a processed picture lies in its photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """The processed photo as a camera sees it."""

    width: int  # pixels
    height: int  # pixels
    principal: Tensor  # [1, 2] pixels: the lens's, or the centre of the uncropped photo, through the crop
    photo_to_image: np.ndarray  # [2, 3] float64, pixels of the uncropped photo to pixels of this frame
    thumbnail: np.ndarray | None = None  # [16, 16, 3] uint8, by which a checkpoint knows its photo
    aspect: float = 1.0  # the focal length down, over that across
    skew: float = 0.0  # the camera matrix's skew, over the focal length across
