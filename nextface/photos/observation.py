"""What the stages look at: one photo's pixels, mask and landmarks, in the processed frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from nextface.scene.colour import srgb_to_linear

DARKEST_SLOPE = 0.01  # linear radiance below which the sRGB curve's slope is not followed any further


@dataclass(frozen=True)
class Observation:
    """One processed photo, on the device where fitting runs."""

    srgb: Tensor  # [h, w, 3] in [0, 1], sRGB-encoded
    mask: Tensor  # [h, w] bool, pixels that count in the loss
    clipped: Tensor  # [h, w] bool, pixels that only say "at least this bright"
    detector: str  # name of the landmark detector
    landmarks: Tensor  # [P, 2] pixels of the processed frame
    blendshapes: dict[str, float]  # the detector's expression scores, empty where unknown
    focal: float  # pixels, the focal length's prior mean
    focal_spread: float  # standard deviation of the focal length's logarithm

    @cached_property
    def linear(self) -> Tensor:
        """Linear radiance [h, w, 3] of the photo."""
        return srgb_to_linear(self.srgb)

    @cached_property
    def slope(self) -> Tensor:
        """Derivative [h, w, 3] of the sRGB curve at the photo's radiance.

        Multiplied with it, a difference of radiances becomes, to first order, a difference of encoded
        values, the scale on which people and PSNR judge; unlike an encoded render it stays linear in the
        render, so that noise does not bias a loss.
        """
        linear = self.linear.clamp(min=DARKEST_SLOPE)
        return 1.055 / 2.4 * linear ** (1 / 2.4 - 1)

    @property
    def face_size(self) -> float:
        """Geometric mean of the width and height of the landmarks' bounding box, pixels."""
        return size_of_face(self.landmarks)

    def hundredths(self, pixels: Tensor) -> Tensor:
        """Distances in pixels of the processed frame as hundredths of the face's size."""
        return pixels * (100 / self.face_size)


def size_of_face(landmarks: Tensor) -> float:
    """Geometric mean of the width and height of the bounding box of landmarks [P, 2], pixels."""
    return float((landmarks.amax(0) - landmarks.amin(0)).prod().sqrt())


@dataclass(frozen=True)
class Target:
    """The photo that a reconstruction is compared with."""

    observation: Observation
    oval: np.ndarray  # [h, w] bool, the landmark oval without eyes and mouth

    @property
    def srgb8(self) -> np.ndarray:
        """[h, w, 3] 8-bit sRGB."""
        return np.round(self.observation.srgb.cpu().numpy() * 255).astype(np.uint8)

    @property
    def mask(self) -> np.ndarray:
        """[h, w] bool, pixels in the loss."""
        return self.observation.mask.cpu().numpy()

    @property
    def mask_share(self) -> float:
        """How much of the oval is in the loss."""
        return float((self.mask & self.oval).sum() / max(self.oval.sum(), 1))
