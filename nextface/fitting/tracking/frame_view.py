"""A frame around its face, shrunk to the size at which it is compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.landmarks.points import Landmarks, face_box
from nextface.photos.observation import DARKEST_SLOPE
from nextface.photos.photo import CLIPPED_LEVEL
from nextface.scene.colour import srgb_to_linear

CHANNELS = 11  # radiance, its slopes across and down, the sRGB curve's slope, whether it is clipped


@dataclass(frozen=True)
class FrameView:
    """A frame's pixels around the face.

    `layers` [h, w, CHANNELS] float32: linear radiance (3), its slope across and down (3 each, a pixel of the
    frame), the slope of the sRGB curve at its mean, and how much of it is clipped.
    """

    layers: np.ndarray
    to_view: np.ndarray  # [2, 3] from the frame's pixels to the view's

    @classmethod
    def of(cls, rgb: np.ndarray, face: Landmarks, side: int) -> FrameView:
        """The part of a frame [H, W, 3] (uint8 sRGB) around a face, about `side` pixels across."""
        height, width = rgb.shape[:2]
        x0, y0, x1, y1 = face_box(face)
        left, top = (int(np.clip(np.floor(low), 0, size - 2)) for low, size in ((x0, width), (y0, height)))
        right = int(np.clip(np.ceil(x1), left + 2, width))
        bottom = int(np.clip(np.ceil(y1), top + 2, height))
        part = rgb[top:bottom, left:right]
        shrink = min(side / max(x1 - x0, 1.0), 1.0)
        size = (max(round(part.shape[1] * shrink), 2), max(round(part.shape[0] * shrink), 2))
        linear = cv2.resize(_linear()[part], size, interpolation=cv2.INTER_AREA)
        clipped = (part >= CLIPPED_LEVEL).any(-1).astype(np.float32)
        clipped = cv2.resize(clipped, size, interpolation=cv2.INTER_AREA)
        scale = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        across, down = (
            cv2.Sobel(linear, cv2.CV_32F, *order, ksize=3, scale=factor / 8)
            for order, factor in (((1, 0), scale[0]), ((0, 1), scale[1]))
        )
        slope = 1.055 / 2.4 * np.maximum(linear.mean(-1, keepdims=True), DARKEST_SLOPE) ** (1 / 2.4 - 1)
        layers = np.concatenate([linear, across, down, slope, clipped[..., None]], -1)
        return cls(layers, np.column_stack([np.diag(scale), -scale * (left, top)]))

    def at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The layers [P, CHANNELS] at places [P, 2] in the frame, and which of these [P] lie inside."""
        matrix = torch.from_numpy(self.to_view).to(places)
        own = places @ matrix[:, :2].T + matrix[:, 2]
        height, width = self.layers.shape[:2]
        size = own.new_tensor([width, height])
        inside = ((own > 0.5) & (own < size - 0.5)).all(1)
        grid = (2 * own / size - 1).view(1, 1, -1, 2).float()
        layers = torch.from_numpy(self.layers).to(grid.device).permute(2, 0, 1)[None]
        found = torch.nn.functional.grid_sample(layers, grid, padding_mode="border", align_corners=False)
        return found[0, :, 0].T, inside


@lru_cache(maxsize=1)
def _linear() -> np.ndarray:
    """The linear radiance of each of 256 sRGB values."""
    return np.asarray(srgb_to_linear(np.arange(256, dtype=np.float32) / 255), np.float32)
