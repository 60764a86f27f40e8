"""The ranges of reflectance, in one place, and a smooth change of variables that keeps values inside them.

Nothing else clamps: what is optimised is an unbounded latent value, and the reflectance is a logistic
function of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIFFUSE_RANGE = (0.0, 1.0)  # linear albedo
SPECULAR_RANGE = (0.0, 0.08)  # F0
ROUGHNESS_RANGE = (0.1, 1.0)

RANGES = {"diffuse": DIFFUSE_RANGE, "specular": SPECULAR_RANGE, "roughness": ROUGHNESS_RANGE}
MARGIN = 1e-3  # of the range: where latent values are cut off, so that they stay finite


def to_latent(values: Tensor, name: str) -> Tensor:
    """Unbounded values of a reflectance "diffuse", "specular" or "roughness"."""
    low, high = RANGES[name]
    return torch.logit(((values - low) / (high - low)).clamp(MARGIN, 1 - MARGIN))


def from_latent(latent: Tensor, name: str) -> Tensor:
    """Reflectance of unbounded values."""
    low, high = RANGES[name]
    return low + (high - low) * torch.sigmoid(latent)
