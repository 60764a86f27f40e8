"""What is known beforehand of each coordinate of an expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class ExpressionPrior:
    """Mean, spread and bounds of every coordinate, each in the coordinate's own unit.

    A coordinate is a blendshape's weight, a component's coefficient in standard deviations, or an angle of a
    joint in radians.
    """

    mean: Tensor  # [E] of a face at rest
    spread: Tensor  # [E] standard deviations, > 0
    low: Tensor  # [E] < mean + spread
    high: Tensor  # [E] > low

    @classmethod
    def uniform(cls, count: int, spread: float, low: float, high: float, mean: float = 0.0) -> ExpressionPrior:
        """The same for each of `count` coordinates."""
        return cls(*(torch.full((count,), value) for value in (mean, spread, low, high)))

    @classmethod
    def blendshapes(cls, count: int) -> ExpressionPrior:
        """Weights in [0, 1] that are mostly small."""
        return cls.uniform(count, 0.25, 0.0, 1.0)

    @classmethod
    def components(cls, count: int) -> ExpressionPrior:
        """Coefficients of principal components, in standard deviations."""
        return cls.uniform(count, 1.0, -3.0, 3.0)

    @classmethod
    def joined(cls, parts: Sequence[ExpressionPrior]) -> ExpressionPrior:
        """The coordinates of several priors in a row."""
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def to(self, device: str | torch.device) -> ExpressionPrior:
        """The same on another device."""
        return ExpressionPrior(*(getattr(self, item.name).to(device) for item in fields(self)))
