"""A photo at the size that stage 2 works at: the statistical model knows nothing finer."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.photos.observation import Observation
from nextface.scene import Camera
from nextface.scene.colour import linear_to_srgb

WHOLLY = 0.999  # share of a pixel's square, from which on it counts as inside


@dataclass(frozen=True)
class WorkingPhoto:
    """One photo, shrunk by averaging its radiance."""

    observation: Observation
    width: int  # pixels
    height: int  # pixels
    reach: Tensor  # [height, width] bool, pixels that are half or more in the mask: the face must cover them

    @classmethod
    def of(cls, observation: Observation, pixels: int) -> WorkingPhoto:
        """The photo, shrunk so far that its mask has about so many pixels; never enlarged."""
        height, width = observation.mask.shape
        scale = min(1.0, (pixels / max(int(observation.mask.sum()), 1)) ** 0.5)
        if scale == 1:
            return cls(observation, width, height, observation.mask)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))

        def shrunk(values: Tensor) -> Tensor:
            array = values.cpu().numpy().astype(np.float32)
            return torch.from_numpy(cv2.resize(array, size, interpolation=cv2.INTER_AREA)).to(values.device)

        share = shrunk(observation.mask)
        mask = share > WHOLLY
        if not mask.any():  # of strips thinner than a pixel
            return cls(observation, width, height, observation.mask)
        clipped = shrunk(observation.clipped) > 1 - WHOLLY
        srgb = torch.from_numpy(linear_to_srgb(shrunk(observation.linear).cpu().numpy()))
        return cls(Observation(srgb.to(mask.device), mask, clipped), *size, share >= 0.5)

    def camera(self, camera: Camera) -> Camera:
        """The processed photo's camera, at this photo's size."""
        return camera.resized(self.width, self.height)
