"""What the stages compare renders with: a photo's pixels, and which of them count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from nextface.scene.colour import srgb_to_linear

DARKEST_SLOPE = 0.01  # linear radiance below which the sRGB curve's slope is not followed any further


@dataclass(frozen=True)
class Observation:
    """One photo's pixels at some size, on the device where fitting runs."""

    srgb: Tensor  # [h, w, 3] in [0, 1], sRGB-encoded
    mask: Tensor  # [h, w] bool, pixels that count in the loss
    clipped: Tensor  # [h, w] bool, pixels that only say "at least this bright"
    weight: Tensor | None = None  # [h, w] how much each pixel counts; None: all alike

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
