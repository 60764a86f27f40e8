"""The terms that the stages minimise. Each is a mean, so that weights carry over between sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from nextface.fitting.terms.robust import geman_mcclure_weight
from nextface.person.parameters import LIGHT_LOBES
from nextface.photos.observation import Observation
from nextface.scene.lighting import fibonacci_directions

RENDER_MEMORY = 0.8  # how much of the running mean of the renders survives an iteration
HUE_WEIGHT = 30.0  # of each lobe's hue
CONTRAST_WEIGHT = 0.02  # between lobes
# Of the hue of a card that they light: daylight and lamps differ along one line, from blue to orange, and what
# a camera's white balance leaves of them does; green and magenta light is rare.
WARMTH_WEIGHT = 5.0
GREEN_WEIGHT = 55.0
# The same of cards that face elsewhere: what only rims of the face show would take any hue that they have.
AROUND_WARMTH, AROUND_GREEN = 0.25, 2.0
EXPOSURE_WEIGHT = 4.0  # of the exposure's logarithm
# Linear radiance that a white card is exposed to. By the standard output sensitivity of ISO 12232, which most
# cameras state, a card of 18 % comes out at 18 % of white; but faces are lit less than the scene that was
# metered: with 1.0 the light skin of real portraits comes out brown.
WHITE_CARD = 0.85
_TINTS = torch.tensor([[1.0, 0.0, -1.0], [-0.5, 1.0, -0.5]])  # of a logarithm of RGB: how warm, how green
_TINT_ROOTS = torch.tensor([[WARMTH_WEIGHT, GREEN_WEIGHT]] + 5 * [[AROUND_WARMTH, AROUND_GREEN]]).sqrt()
EMPTY_PIXEL_PENALTY = 1.0  # squared encoded residual of a pixel of the mask that the face leaves empty


@dataclass
class PhotoTerm:
    """Photo-consistency of noisy renders, with gradients that noise does not bias.

    A renderer takes the samples of its backward pass independently of those of the image. So the gradient,
    image residual times image derivative, has the expectation that it has without noise: an L2 loss needs no
    more. (An L1 loss, or a residual of encoded values, would not do.) Robust weights must not depend on the
    present noise either: they come from the mean of earlier renders. Only the loss's value, which nothing but
    the progress bar looks at, is too large, by the noise's mean square.
    """

    observation: Observation
    outlier: float  # encoded residual from which on a pixel loses weight, because no parameter explains it
    share: Tensor | None = None  # [h, w] weight of each pixel beside other photos of the same surface
    mean_render: Tensor | None = None  # [h, w, 3] running mean, linear

    def __call__(self, image: Tensor) -> Tensor:
        """The loss of a render [h, w, 4] (linear, premultiplied RGB and alpha)."""
        observation = self.observation
        weight = self._weights(image.detach()[..., :3])
        if self.share is not None:
            weight = weight * self.share
        residual = (image[..., :3] - observation.linear) * observation.slope
        squares = weight * residual.square().mean(-1) + EMPTY_PIXEL_PENALTY * (1 - image[..., 3])
        if observation.weight is not None:
            squares = squares * observation.weight
        return squares[observation.mask].mean()

    def _weights(self, render: Tensor) -> Tensor:
        """Weights [h, w] in [0, 1] from the renders before this one (Geman and McClure's function)."""
        observation = self.observation
        if self.mean_render is None:
            self.mean_render = render
            return torch.ones_like(render[..., 0])
        residual = (self.mean_render - observation.linear) * observation.slope
        self.mean_render = RENDER_MEMORY * self.mean_render + (1 - RENDER_MEMORY) * render
        weight = geman_mcclure_weight(residual.square().mean(-1), self.outlier)
        brighter = residual.mean(-1) >= 0
        return torch.where(observation.clipped & brighter, torch.zeros_like(weight), weight)


def light_term(light: Tensor) -> Tensor:
    """How far lights [N, LIGHT_LOBES, 3] of log powers are from grey and from even: the mean over N."""
    return torch.stack([light_residuals(single).square().sum() for single in light]).mean()


def light_residuals(light: Tensor) -> Tensor:
    """What is squared and summed in `light_term`, for one photo's light [LIGHT_LOBES, 3]: a vector.

    Colour is held more tightly than contrast: most light is nearly white, and a tinted light could
    otherwise explain any skin colour; off the line from daylight to tungsten most tightly (Hordley, "Scene
    illuminant estimation: past, present, and future", Color Research and Application, 2006). Exposure is
    held loosely: cameras let a white card come out about white, and little else tells dark skin under bright
    light from light skin in the dark.
    """
    grey = light.mean(-1)
    contrast = grey - (torch.logsumexp(grey, 0) - math.log(LIGHT_LOBES))
    cards = _cards().to(light) @ light.exp()  # [6, 3]
    tints = _TINT_ROOTS.to(light) * (cards.log() @ _TINTS.to(light).T)
    exposure = (cards[0].mean() / WHITE_CARD).log()[None]
    parts = (light - grey[:, None], contrast, tints, exposure)
    return torch.cat([root * part.flatten() for root, part in zip(_roots(), parts, strict=True)])


def usually_exposed(light: Tensor) -> Tensor:
    """Lights [N, LIGHT_LOBES, 3] of log powers, each scaled to the exposure that cameras aim for."""
    shown = (_cards()[0].to(light) @ light.exp()).mean(-1)
    return light + (WHITE_CARD / shown).log()[:, None, None]


def light_residual_slopes(light: Tensor) -> Tensor:
    """Derivatives [R, LIGHT_LOBES, 3] of `light_residuals` by the light [LIGHT_LOBES, 3]."""
    one, each = torch.eye(3).to(light), torch.eye(LIGHT_LOBES).to(light)
    hue = torch.einsum("ij,ck->icjk", each, one - 1 / 3).flatten(0, 1)
    contrast = ((each - torch.softmax(light.mean(-1), 0)) / 3)[..., None].expand(-1, -1, 3)
    on_cards = _cards().to(light)[..., None] * light.exp()  # [6, LIGHT_LOBES, 3]
    logs = on_cards / on_cards.sum(1, keepdim=True)
    tints = _TINT_ROOTS.to(light)[..., None, None] * _TINTS.to(light)[:, None] * logs[:, None]
    parts = (hue, contrast, tints.flatten(0, 1), (on_cards[0] / on_cards[0].sum())[None])
    return torch.cat([root * part for root, part in zip(_roots(), parts, strict=True)])


def _roots() -> list[float]:
    """What residuals are multiplied with, so that the squares of each kind are a weighted mean."""
    counts = (3 * LIGHT_LOBES, LIGHT_LOBES, 1, 1)
    weights = (HUE_WEIGHT, CONTRAST_WEIGHT, 1.0, EXPOSURE_WEIGHT)  # tints have theirs already
    return [(weight / count) ** 0.5 for weight, count in zip(weights, counts, strict=True)]


@lru_cache(maxsize=1)
def _cards() -> Tensor:
    """The radiance [6, LIGHT_LOBES] of white, matte cards beside the head, for each lobe of unit power.

    The first faces the camera, the others away from it, to either side, up and down. Lobes are taken for
    narrow ones.
    """
    axes = torch.eye(3)[[2, 0, 1]]
    facing = torch.cat([axes[:1], -axes[:1], axes[1:], -axes[1:]]).to(fibonacci_directions(1))
    return (facing @ fibonacci_directions(LIGHT_LOBES).T).clamp(min=0) / math.pi
