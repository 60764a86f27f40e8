"""Skin, hair, eyes and mouth as statistics at vertices: colour from melanin and blood, never implausible."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nextface.models.face_model import Reflectance

MAX_SPECULAR, MIN_ROUGHNESS = 0.08, 0.1
LOG_ALBEDO_BOUNDS = (-4.6, -0.3)  # of everything that is not skin


def squash(coefficients: Tensor, bound: float = 3.0) -> Tensor:
    """Coefficients pulled smoothly into (-bound, bound); small ones stay as they are."""
    return bound * torch.tanh(coefficients / bound)


def skin_colour(melanin: Tensor, blood: Tensor, polynomial: Tensor) -> Tensor:
    """Linear RGB albedo [..., 3] of skin.

    `melanin` and `blood` [...] are positions on the logarithmic ranges of both chromophores that
    tools/open_head/skin_spectra.py documents; tanh keeps them inside the ranges. `polynomial` [M, 3] holds
    log albedo over both, in the order melanin^i blood^j, i rising first over j.
    """
    degree = int((8 * polynomial.shape[0] + 1) ** 0.5 - 3) // 2
    x, y = torch.tanh(melanin), torch.tanh(blood)
    powers = [torch.ones_like(y)]
    for _ in range(degree):
        powers.append(powers[-1] * y)
    of_blood = torch.stack(powers).flatten(1)
    log_albedo = x.new_zeros(())
    for row in reversed(polynomial.split(list(range(degree + 1, 0, -1)))):  # Horner's rule in melanin
        inner = (row.T @ of_blood[: len(row)]).unflatten(1, x.shape)  # [3, ...]: whole fields of a colour each
        log_albedo = torch.addcmul(inner, log_albedo, x)
    return log_albedo.movedim(0, -1).exp()


def _bounded(log_albedo: Tensor) -> Tensor:
    """Albedo of a log albedo that is smoothly kept inside LOG_ALBEDO_BOUNDS."""
    low, high = LOG_ALBEDO_BOUNDS
    middle, half = (low + high) / 2, (high - low) / 2
    return (middle + half * torch.tanh((log_albedo - middle) / half)).exp()


@dataclass(frozen=True)
class Appearance:
    """Constants and linear fields of the albedo coefficients; row 0 of a field is its mean."""

    melanin: Tensor  # [1 + A, V]
    blood: Tensor  # [1 + A, V]
    hair_cover: Tensor  # [V] in [0, 1]
    hair: Tensor  # [1 + A, V], logit of the share of the cover
    hair_colour: Tensor  # [1 + A, 3], log albedo
    undertone: Tensor  # [1 + A, 3], log albedo
    other: Tensor  # [1 + A, V, 3], log albedo of eyes, teeth, tongue and the inside of the mouth
    is_skin: Tensor  # [V] bool
    specular: Tensor  # [1 + A, V], logit of F0 / 0.08
    roughness: Tensor  # [1 + A, V], logit of (roughness - 0.1) / 0.9
    skin_polynomial: Tensor  # [M, 3]

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Reflectance of whitened coefficients [N, A]."""
        row = torch.cat([torch.ones_like(albedo[:, :1]), squash(albedo)], 1)

        def at(values: Tensor) -> Tensor:
            return (row @ values.flatten(1).to(row)).unflatten(1, values.shape[1:])

        skin = skin_colour(at(self.melanin), at(self.blood), self.skin_polynomial.to(row))
        skin = skin * at(self.undertone)[:, None].exp()
        hair_share = (self.hair_cover.to(row) * torch.sigmoid(at(self.hair)))[..., None]
        skin = skin + hair_share * (_bounded(at(self.hair_colour))[:, None] - skin)
        diffuse = torch.where(self.is_skin[:, None], skin, _bounded(at(self.other)))
        specular = MAX_SPECULAR * torch.sigmoid(at(self.specular))
        roughness = MIN_ROUGHNESS + (1 - MIN_ROUGHNESS) * torch.sigmoid(at(self.roughness))
        return Reflectance(diffuse, specular[..., None], roughness[..., None])

    def to(self, device: str) -> Appearance:
        """The same appearance on another device."""
        return Appearance(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})

    def carried(self, triangles: Tensor, barycentric: Tensor) -> Appearance:
        """The same statistics at points of the surface.

        Parameters
        ----------
        triangles: [W, 3] the vertices around each of W points.
        barycentric: [W, 3] their weights.
        """

        def at(values: Tensor) -> Tensor:
            """Of fields [1 + A, V, ...]."""
            weights = barycentric.to(values)
            weights = weights.reshape(*weights.shape, *[1] * (values.dim() - 2))
            return (values[:, triangles] * weights).sum(2)

        own = {
            name: at(getattr(self, name))
            for name in ("melanin", "blood", "hair", "other", "specular", "roughness")
        }
        skin = at(self.is_skin[None].float())[0] > 0.5
        return replace(self, **own, hair_cover=at(self.hair_cover[None])[0], is_skin=skin)
