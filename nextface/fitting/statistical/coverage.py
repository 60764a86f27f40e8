"""How far the face falls short of the mask.

A ray tracer's gradient does not see silhouettes move, nor do derivatives of the pixels that show the face. So
each pixel of the mask that the face leaves empty pulls at the vertex whose projection is nearest, as in an
iterative closest point step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.photos.shot import Shot

MOST_PULLS = 200  # empty pixels that pull at the face; more pull in the same directions


@dataclass(frozen=True)
class EmptyPixels:
    """Pixels of the mask that the face leaves empty, and the vertices that they pull at."""

    pixels: Tensor  # [Q, 2] in the processed frame
    vertices: Tensor  # [Q] int64
    weight: float  # of the squared distance, in hundredths of the face's size, of each

    @classmethod
    def of(cls, mask: Tensor, alpha: Tensor, projected: Tensor, pixel_size: tuple[float, float]) -> EmptyPixels:
        """Those that a face with vertices [V, 2] (pixels of the processed frame) leaves empty.

        Parameters
        ----------
        mask, alpha: [h, w] bool, and how much of each pixel the face covers, at any size of the photo.
        pixel_size: width and height of such a pixel in pixels of the processed frame.
        """
        empty = (mask & (alpha < 0.5)).nonzero().flip(1) + 0.5
        pulled = empty[:: max(-(-len(empty) // MOST_PULLS), 1)]
        pulled = pulled * pulled.new_tensor(pixel_size)
        weight = len(empty) / (0.01 * float(mask.sum())) / max(len(pulled), 1)
        return cls(pulled, torch.cdist(pulled, projected).argmin(1), weight)


def coverage_term(projected: Tensor, alpha: Tensor, shot: Shot) -> Tensor:
    """How far a face with vertices [V, 2] and alpha [h, w] falls short of the mask: 0 where it covers it.

    Returns
    -------
    Squared distances in hundredths of the face's size, summed, over a hundredth of the mask's pixels.
    """
    empty = EmptyPixels.of(shot.observation.mask, alpha.detach(), projected.detach(), (1.0, 1.0))
    offsets = shot.landmarks.hundredths(projected[empty.vertices] - empty.pixels)
    return empty.weight * offsets.square().sum()
