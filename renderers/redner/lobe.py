"""redner's specular lobe, evaluated without redner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NARROWEST = 1.6  # cot(theta) / alpha from which on the fit to Beckmann's G1 is 1
LEAST_COSINE = 1e-3  # of the angle between normal and view; smaller ones are treated as this one
HALF_VECTORS = 64  # along each of the two dimensions of the integral over even light


@dataclass(frozen=True)
class BlinnPhong:
    """Blinn-Phong normals of exponent 2 / r - 2 with r = roughness^4, as high as GGX at the peak.

    Light and view are shadowed each by itself, by the rational fit to Smith's G1 of Beckmann's distribution
    with alpha^2 = r (Walter et al., "Microfacet Models for Refraction through Rough Surfaces", EGSR 2007,
    equation 27). redner leaves light away that grazes the triangle at less than 1e-3: here, it counts.
    """

    def evaluate(
        self, roughness: Sequence[float], cosine: Tensor, leaving: Tensor, half: Tensor, out: Tensor
    ) -> None:
        """Fill `out` with D G / (4 n.v).

        Protocol: `renderers.specular_lobe.SpecularLobe.evaluate`.
        """
        cotangent = _cotangent(cosine)
        seen_from = leaving.clamp(min=LEAST_COSINE)
        view_cotangent = _cotangent(seen_from)
        logarithm = half.clamp(min=1e-30).log_()
        for level, value in zip(out, roughness, strict=True):
            squared = value**4  # redner's r
            torch.mul(logarithm, 1 / squared - 1, out=level).exp_()  # (n.h)^(2 / r - 2)
            level *= _unshadowed(cotangent, squared)
            level *= _unshadowed(view_cotangent, squared) * (leaving > 0) / (4 * math.pi * squared * seen_from)

    def directional_albedo(self, roughness: float, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """What even light gives, by a regular grid through the inverse distribution of half vectors.

        Protocol: `renderers.specular_lobe.SpecularLobe.directional_albedo`.
        """
        squared = roughness**4
        steps = (torch.arange(HALF_VECTORS, dtype=cosine.dtype, device=cosine.device) + 0.5) / HALF_VECTORS
        azimuth, height = (
            part.reshape(1, -1) for part in torch.meshgrid(math.pi * steps, steps, indexing="ij")
        )
        half_z = height ** (squared / 2)  # the density of half vectors is D n.h
        leaving = cosine.clamp(min=LEAST_COSINE)[:, None]
        along = (1 - half_z**2).sqrt() * azimuth.cos() * (1 - leaving**2).sqrt() + half_z * leaving  # v.h
        arriving = 2 * along * half_z - leaving
        shadowing = _unshadowed(_cotangent(arriving.clamp(min=0)), squared)
        shadowing = shadowing * _unshadowed(_cotangent(leaving), squared)
        weight = shadowing * along / (leaving * half_z * along.shape[1])
        weight = torch.where((along > 0) & (arriving > 0), weight, 0)
        schlick = (1 - along).clamp(0, 1) ** 5
        return (weight * (1 - schlick)).sum(1), (weight * schlick).sum(1)


def _cotangent(cosine: Tensor) -> Tensor:
    return cosine / (1 - cosine.square()).clamp(min=1e-12).sqrt()


def _unshadowed(cotangent: Tensor, squared: float) -> Tensor:
    """G1 of angles with the given cotangent."""
    a = (cotangent / math.sqrt(squared)).clamp_(max=NARROWEST)
    return (3.535 * a + 2.181 * a.square()) / (1 + 2.276 * a + 2.577 * a.square())
