"""The terms that the stages minimise. Each is a mean, so that weights carry over between sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.fitting.observation import Observation
from nextface.reconstruction import LIGHT_LOBES

OUTLIER_RESIDUAL = 0.12  # encoded residual at which a pixel counts half: hair, glints, what no term explains
RENDER_MEMORY = 0.8  # how much of the running mean of the renders survives an iteration
EMPTY_PIXEL_PENALTY = 1.0  # squared encoded residual of a pixel of the mask that the face leaves empty


@dataclass
class PhotoTerm:
    """Photo-consistency of noisy renders, without the bias that noise gives a loss.

    The squared residual of one noisy render is too large by the noise's variance, which depends on what is
    optimised. The product of the residuals of two independent renders has the right expectation. Robust
    weights must not depend on the noise either, so they come from the mean of earlier renders.
    """

    observation: Observation
    mean_render: Tensor | None = None  # [h, w, 3] running mean, linear

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of two independent renders [h, w, 4] of the same scene (premultiplied RGB, alpha)."""
        seen = self.observation
        weight = self._weights(0.5 * (first.detach() + second.detach())[..., :3])
        residual_first = (first[..., :3] - seen.linear) * seen.slope
        residual_second = (second[..., :3] - seen.linear) * seen.slope
        empty = (1 - first[..., 3]) * (1 - second[..., 3])
        squares = weight * (residual_first * residual_second).mean(-1) + EMPTY_PIXEL_PENALTY * empty
        return squares[seen.mask].mean()

    def _weights(self, render: Tensor) -> Tensor:
        """Weights [h, w] in [0, 1] from the renders before this one (Geman and McClure's function)."""
        seen = self.observation
        if self.mean_render is None:
            self.mean_render = render
            return torch.ones_like(render[..., 0])
        residual = (self.mean_render - seen.linear) * seen.slope
        self.mean_render = RENDER_MEMORY * self.mean_render + (1 - RENDER_MEMORY) * render
        weight = (1 + residual.square().mean(-1) / OUTLIER_RESIDUAL**2) ** -2
        brighter = residual.mean(-1) >= 0
        return torch.where(seen.clipped & brighter, torch.zeros_like(weight), weight)


def landmark_term(projected: Tensor, observation: Observation, indices: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared distance of landmarks [L, 2], in hundredths of the face's size."""
    offsets = (projected - observation.landmarks[indices]) * (100 / observation.face_size)
    distance = offsets.square().sum(-1)
    robust = 8 * ((1 + distance / 4).sqrt() - 1)  # pseudo-Huber: linear beyond 2 % of the face
    return (robust * weights).sum() / weights.sum().clamp(min=1e-9)


def light_term(light: Tensor) -> Tensor:
    """How far a light [N, LIGHT_LOBES, 3] of log powers is from grey and from even.

    Colour is held more tightly than contrast: most light is nearly white, and a tinted light could
    otherwise explain any skin colour.
    """
    grey = light.mean(-1, keepdim=True)
    level = torch.logsumexp(grey, 1, keepdim=True) - torch.log(torch.tensor(float(LIGHT_LOBES)))
    contrast = (grey - level).square().mean()
    power = light.exp().sum(1)
    tint = (power / power.mean(-1, keepdim=True) - 1).square().mean()
    return (light - grey).square().mean() + 0.02 * contrast + 10 * tint
