"""What a backend's surfaces reflect specularly, for sums over the light instead of ray tracing."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nextface.scene import prefiltered


class SpecularLobe(Hashable, Protocol):
    """A reflectance F D G / (4 cos_i cos_o) with Schlick's F, for light and views above the surface."""

    def evaluate(
        self, roughness: Sequence[float], cosine: Tensor, leaving: Tensor, half: Tensor, out: Tensor
    ) -> None:
        """Fill `out` with D G / (4 n.v), the reflectance times the light's cosine and without F.

        Parameters
        ----------
        roughness: [L] values from 0.1 to 1.
        cosine: [P, K] n.l, not negative; where it is 0, so is the result.
        leaving: [P, 1] n.v; where it is not positive, the result is 0.
        half: [P, K] the square of n.h, for the vector h half way between light and view.
        out: [L, P, K].
        """
        ...

    def directional_albedo(self, roughness: float, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """What even light of radiance 1 gives at n.v [V], for F = 1 - s and for F = s: [V] each.

        Here s is Schlick's (1 - v.h)^5, so that F0 times the first plus the second is the reflected radiance.
        """
        ...


@dataclass(frozen=True)
class GGX:
    """The project's lobe: alpha = roughness^2, with height-correlated Smith shadowing (Heitz 2014)."""

    def evaluate(
        self, roughness: Sequence[float], cosine: Tensor, leaving: Tensor, half: Tensor, out: Tensor
    ) -> None:
        """Fill `out` with D G / (4 n.v). In place wherever it can be: memory, not arithmetic, takes the time.

        Protocol: `SpecularLobe.evaluate`.
        """
        shown = cosine * (leaving > 0)
        squared_cosine = cosine.square()
        narrow = torch.empty_like(cosine)
        for level, value in zip(out, roughness, strict=True):
            squared = value**4  # alpha^2
            root_out = (squared + (1 - squared) * leaving.square()).sqrt()
            # Smith's visibility is 1 / (2 smith), and the distribution of normals alpha^2 / (pi narrow^2).
            smith = torch.mul(squared_cosine, 1 - squared, out=level).add_(squared).sqrt_().mul_(leaving)
            smith.addcmul_(cosine, root_out).clamp_(min=1e-12)
            torch.mul(half, squared - 1, out=narrow).add_(1).square_()
            torch.div(shown, smith.mul_(narrow), out=level).mul_(squared / (2 * math.pi))

    def directional_albedo(self, roughness: float, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """What even light gives; see `nextface.scene.prefiltered.directional_albedo`.

        Protocol: `SpecularLobe.directional_albedo`.
        """
        return prefiltered.directional_albedo(roughness, cosine)
