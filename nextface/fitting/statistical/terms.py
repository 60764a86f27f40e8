"""What both ways of stage 2 minimise beside the photo, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.person.parameters import Parameters

OUTLIER_RESIDUAL = 0.12  # beards, brows and moles are beyond a statistical model: they must not bend it
EXPRESSION_UNIT = 0.25  # the spread of a blendshape's weight, which the expression prior is measured in
PORTRAIT_WEIGHT = 0.1  # of the priors of focal length and distance: squared standard deviations


@dataclass(frozen=True)
class StatisticalWeights:
    """Weights of the terms beside photo-consistency.

    Each term is a mean over coefficients, but for identity's: a hundredth of their sum, so that a model with
    more components holds each as tightly.
    """

    landmarks: float
    identity: float
    expression: float
    albedo: float
    light: float


@dataclass(frozen=True)
class StatisticalSettings:
    """How stage 2 is done, in either way."""

    weights: StatisticalWeights
    iterations: int  # at most
    optimize_focal: bool  # whether focal lengths may leave where they start
    samples: int = 1  # light paths a pixel and iteration, where the renderer draws
    seed: int = 0  # of the renderer's noise


def expression_scale(prior: ExpressionPrior) -> Tensor:
    """What offsets of each coordinate [E] of an expression are multiplied with, to be alike in all models."""
    return EXPRESSION_UNIT / prior.spread


def person_weights(parameters: Parameters, weights: StatisticalWeights) -> dict[str, float]:
    """How much the square of a coefficient counts, of what all photos share."""
    return {
        "identity": weights.identity / 100,
        "albedo": weights.albedo / max(parameters.albedo.shape[1], 1),
    }


def person_term(parameters: Parameters, weights: StatisticalWeights) -> Tensor:
    """What is known of the person beforehand: identity and albedo near the model's mean."""
    terms = person_weights(parameters, weights).items()
    return torch.stack([getattr(parameters, name).square().sum() * weight for name, weight in terms]).sum()
