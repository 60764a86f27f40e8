"""What a frame's face is told by: its unknowns in a row, their bounds, and how fast each of them changes.

A frame has an expression (with it jaw, lids and gaze, as far as the face model has them), a pose, and a drift
of the light away from the person's main light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nextface.fitting.terms.portrait_prior import DISTANCE_RANGE
from nextface.fitting.tracking.smoothing import MotionPrior
from nextface.models.expression_prior import ExpressionPrior
from nextface.scene.lighting import fibonacci_directions, sh_basis

DRIFT_BANDS = 3  # of how the light's strength may change with direction
DRIFT = 3 + DRIFT_BANDS**2 - 1  # a gain for each colour, and the strength's bands beyond the first
LARGEST_DRIFT = 2.0  # of a logarithm
# How much a velocity changes within a second, in the unknown's unit a second. A head nods and shakes at up to
# 3 Hz with some degrees' amplitude; a lid closes in a tenth of a second; light moves with clouds and hands.
TURNING = 4.0  # radians
SIDEWAYS, IN_DEPTH = 500.0, 400.0  # mm
CHANGING = 30.0  # spreads of an expression's coordinate
DRIFTING = 0.4  # of a logarithm
MOTION_UNIT = 0.28  # what a squared standard deviation counts beside landmarks and photo


@dataclass(frozen=True)
class FrameCoordinates:
    """Where a frame's U unknowns lie: expression [E], rotation [3], translation [3] (mm), drift [DRIFT]."""

    prior: ExpressionPrior

    @property
    def expressions(self) -> int:
        """E."""
        return len(self.prior.mean)

    @property
    def size(self) -> int:
        """U."""
        return self.expressions + 6 + DRIFT

    def split(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Expression [..., E], rotation [..., 3], translation [..., 3] and drift [..., DRIFT] of [..., U]."""
        expression, rotation, translation, drift = values.split([self.expressions, 3, 3, DRIFT], -1)
        return expression, rotation, translation, drift

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest values [U]."""
        free, drift = np.full(3, np.inf), np.full(DRIFT, LARGEST_DRIFT)
        near, far = (
            np.array([-np.inf, -np.inf, DISTANCE_RANGE[0]]),
            np.array([np.inf, np.inf, DISTANCE_RANGE[1]]),
        )
        low = [self.prior.low.double().cpu().numpy(), -free, near, -drift]
        high = [self.prior.high.double().cpu().numpy(), free, far, drift]
        return np.concatenate(low), np.concatenate(high)

    def motion(self, weight: float) -> MotionPrior:
        """How the unknowns move; `weight` 1 is the usual trust in that."""
        spread = self.prior.spread.double().cpu().numpy()
        pose = [TURNING] * 3 + [SIDEWAYS, SIDEWAYS, IN_DEPTH]
        return MotionPrior(
            np.concatenate([CHANGING * spread, pose, np.full(DRIFT, DRIFTING)]), 2 * MOTION_UNIT * weight
        )


def drift_fields(lobes: int) -> Tensor:
    """How the logarithm of each lobe's power [lobes, 3] changes with a drift: [lobes, 3, DRIFT], float64.

    A gain for each colour first, then smooth fields of the direction that are the same for all colours.
    """
    colours = torch.eye(3).double().expand(lobes, 3, 3)
    fields = sh_basis(fibonacci_directions(lobes), DRIFT_BANDS)[:, 1:]
    return torch.cat([colours, fields[:, None].expand(-1, 3, -1)], 2)
