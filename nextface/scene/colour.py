"""The sRGB curve, both ways, for NumPy arrays and torch tensors.

Photos are sRGB-encoded; shading happens in linear RGB with sRGB primaries. The curve is that of
IEC 61966-2-1 (a linear toe and a 2.4 power), not a plain power of 2.2.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

Values = TypeVar("Values", np.ndarray, torch.Tensor)


def srgb_to_linear(encoded: Values) -> Values:
    """Linear values of sRGB-encoded values, element by element; any shape, dtype and device kept.

    Below zero the linear toe continues and above one the power does, so nothing is clipped and
    `linear_to_srgb` undoes it. Differentiable everywhere.
    """
    if isinstance(encoded, torch.Tensor):
        # The clamp keeps the branch that `where` discards from making NaN gradients.
        powered = ((encoded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
        return torch.where(encoded <= 0.04045, encoded / 12.92, powered)
    powered = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, encoded / 12.92, powered)


def linear_to_srgb(linear: Values) -> Values:
    """sRGB-encoded values of linear values, element by element: the inverse of `srgb_to_linear`."""
    if isinstance(linear, torch.Tensor):
        powered = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
        return torch.where(linear <= 0.0031308, linear * 12.92, powered)
    powered = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, powered)
