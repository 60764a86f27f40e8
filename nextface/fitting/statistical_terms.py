"""What both ways of stage 2 minimise beside the photo, and how much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from nextface.fitting.observation import Observation

OUTLIER_RESIDUAL = 0.12  # beards, brows and moles are beyond a statistical model: they must not bend it
FOCAL_WEIGHT = 0.1  # of the focal length's prior: squared standard deviations


@dataclass(frozen=True)
class StatisticalWeights:
    """Weights of the terms beside photo-consistency; each term is a mean."""

    landmarks: float
    identity: float
    expression: float
    albedo: float
    light: float


def focal_surprise(log_focal: Tensor, observation: Observation) -> Tensor:
    """How many standard deviations the logarithm of a focal length (pixels) is from its prior mean."""
    return (log_focal - math.log(observation.focal)) / observation.focal_spread
