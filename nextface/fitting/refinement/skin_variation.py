"""How skin's colour varies over a face: by melanin, by blood, by how much comes back at all, and little else.

What a correction of diffuse albedo costs is measured along these directions, by how much skin varies along
each. So melanin and blood move freely and a small rest explains what is no skin.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from nextface.scene.reflectance import from_latent

# Unit changes of log albedo by either chromophore, of the spectra that docs/open_head.md describes, at light to
# medium skin; and by less scattering, which has no hue.
MELANIN, BLOOD, GREY = (0.32, 0.53, 0.79), (0.26, 0.79, 0.55), (1.0, 1.0, 1.0)
# Standard deviations along them within one face. With these the brightness, red over green and green over
# blue of skin vary about as on a textured scan's plain skin: 0.21, 0.086 and 0.058 of their logarithms. A
# smaller rest would come nearer, but so stiff a prior lets maps of eyes, which share coarse levels with skin,
# move too slowly.
SPREAD_OF_MELANIN, SPREAD_OF_BLOOD, SPREAD_OF_GREY, REST = 0.15, 0.105, 0.18, 0.04
HUE_ELSEWHERE = 2.5  # a change of hue counts as one of brightness this many times larger, where is no skin
LATENT_PER_LOG = 1.4  # a change of log albedo counts as one of its latent value this many times larger


def skin_covariance() -> Tensor:
    """Covariance [3, 3] of log albedo over a face, float64."""
    parts = ((MELANIN, SPREAD_OF_MELANIN), (BLOOD, SPREAD_OF_BLOOD), (GREY, SPREAD_OF_GREY))
    directions = torch.tensor([direction for direction, _ in parts], dtype=torch.float64)
    spreads = torch.tensor([spread for _, spread in parts], dtype=torch.float64)
    varied = directions * spreads[:, None]
    return varied.T @ varied + REST**2 * torch.eye(3, dtype=torch.float64)


@lru_cache(maxsize=1)
def skin_whitening() -> Tensor:
    """What changes [..., 3] of log albedo are multiplied with, to count alike in all directions: [3, 3].

    A grey change keeps its mean square.
    """
    precision = torch.linalg.inv(skin_covariance())
    return torch.linalg.cholesky(precision * (3 / precision.sum())).float()


def colour_change(latent: Tensor, correction: Tensor, skin: Tensor) -> Tensor:
    """How far a correction [1, ..., 3] of latent diffuse albedo goes, in all directions of colour.

    Parameters
    ----------
    skin: [1, ..., 1] in [0, 1], how far an element is skin. Eyes, teeth and tongue have hues of their own, and
        latent values are as good as others for them.
    """
    change = (from_latent(latent + correction, "diffuse") / from_latent(latent, "diffuse")).log()
    hued = torch.lerp(correction.mean(-1, keepdim=True), correction, HUE_ELSEWHERE)
    return torch.lerp(hued, LATENT_PER_LOG * change @ skin_whitening().to(change), skin)
