"""Reflectance at vertices as models' files bring it: a mean and components, or one colour for everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import LandmarkEmbedding, Reflectance
from nextface.scene.reflectance import RANGES, from_latent, to_latent

SKIN, EYE = (0.50, 0.32, 0.25), (0.60, 0.58, 0.56)  # linear albedo of what has none of its own
PLAIN_SPECULAR, PLAIN_ROUGHNESS = 0.028, 0.5


@dataclass(frozen=True)
class VertexAlbedo:
    """Linear statistics of reflectance, bent so that they never leave the physical ranges.

    Around the mean they are the file's; far from it a logistic curve bends them, as everywhere in the engine.
    """

    diffuse: Tensor  # [1 + A, V, 3] linear: the mean, then each component at one standard deviation
    specular: Tensor  # [1 + A, V, 1] F0, or [1, V, 1] where it is the same for everybody

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Reflectance of coefficients [N, A] in standard deviations."""
        diffuse = _bounded(self.diffuse, albedo, "diffuse")
        specular = _bounded(self.specular, albedo[:, : len(self.specular) - 1], "specular")
        return Reflectance(diffuse, specular, torch.full_like(specular, PLAIN_ROUGHNESS))

    @property
    def size(self) -> int:
        """How many coefficients there are."""
        return len(self.diffuse) - 1

    @classmethod
    def plain(cls, count: int, eyes: Tensor | None) -> VertexAlbedo:
        """The same skin at `count` vertices, and eyes of one colour where they are known [V]."""
        diffuse = torch.tensor(SKIN).expand(count, 3)
        if eyes is not None:
            diffuse = torch.where(eyes[:, None].cpu(), torch.tensor(EYE), diffuse)
        return cls(diffuse[None].clone(), torch.full((1, count, 1), PLAIN_SPECULAR))

    def to(self, device: str) -> VertexAlbedo:
        """The same on another device."""
        return VertexAlbedo(self.diffuse.to(device), self.specular.to(device))


class LooksOfFiles:
    """What a face model with a `VertexAlbedo` of its files, or without one, says of its looks."""

    albedo: VertexAlbedo | None
    regions: Mapping[str, Tensor]
    albedo_size: int
    _shown: VertexAlbedo

    def look(self, count: int, device: torch.device) -> None:
        """Get ready to tell the reflectance of `count` vertices: one skin where the files bring none."""
        self.albedo_size = self.albedo.size if self.albedo else 0
        self._shown = self.albedo or VertexAlbedo.plain(count, self.regions.get("eyes")).to(str(device))

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Vertex reflectance of albedo coefficients [N, albedo_size]; one skin where the files bring none."""
        return self._shown.reflectance(albedo)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """None: they are found, or carried from another model."""
        return None

    def moved(self, device: str) -> dict[str, Any]:
        """Those arguments of the dataclass that lie on a device, on another one."""
        assert is_dataclass(self)
        held = (Tensor, VertexAlbedo, ExpressionPrior)
        given = {part.name: getattr(self, part.name) for part in fields(self) if part.init}
        regions = {name: mask.to(device) for name, mask in self.regions.items()}
        return {name: value.to(device) for name, value in given.items() if isinstance(value, held)} | {
            "regions": regions
        }


def _bounded(values: Tensor, coefficients: Tensor, kind: str) -> Tensor:
    """[N, V, C] of coefficients [N, A]; `values` [1 + A, V, C] are the mean and the components."""
    mean, components = values[0].to(coefficients), values[1:].to(coefficients)
    low, high = RANGES[kind]
    latent = to_latent(mean, kind)
    share = torch.sigmoid(latent)
    slope = 1 / ((high - low) * share * (1 - share))  # of the latent value by the reflectance, at the mean
    moved = (coefficients @ components.flatten(1)).unflatten(1, mean.shape)
    return from_latent(latent + slope * moved, kind)
