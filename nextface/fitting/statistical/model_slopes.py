"""How a face model's vertices and their reflectance change with its coefficients, to first order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.models.face_model import FaceModel
from nextface.models.slopes import shape_slopes
from nextface.person.parameters import Parameters

SHAPE_DIFFERENCE = 0.1  # of a coefficient: the step of differences of a linear model
ALBEDO_DIFFERENCE = 0.02  # standard deviations


class ShapeSlopes:
    """How a model's vertices move with shape: one answer where it is linear, else one for every face."""

    def __init__(self, model: FaceModel, start: Parameters) -> None:
        self._model = model
        self._everywhere = _linear_slopes(model, start) if model.linear else None

    def around(self, parameters: Parameters) -> Tensor:
        """How vertices move [V, 3, K + E] in mm with identity and expression, around one photo's (N = 1)."""
        if self._everywhere is not None:
            return self._everywhere
        return shape_slopes(self._model, parameters.identity[0], parameters.expression[0])


@dataclass(frozen=True)
class ModelSlopes:
    """A model around some coefficients."""

    reflectance: Tensor  # [V, 5, A] of `reflectance_slopes`
    shape: ShapeSlopes | None  # where the shape moves


@torch.no_grad()
def _linear_slopes(model: FaceModel, start: Parameters) -> Tensor:
    """The slopes [V, 3, K + E] of a linear model, by differences of any length."""
    identity, expression = start.identity[0], start.expression[0]
    shapes = len(identity)
    changes = torch.eye(shapes + len(expression), device=identity.device) * SHAPE_DIFFERENCE
    origin = model.vertices(identity[None], expression[None])
    moved = model.vertices(identity + changes[:, :shapes], expression + changes[:, shapes:])
    return moved.sub_(origin).div_(SHAPE_DIFFERENCE).permute(1, 2, 0).contiguous()


@torch.no_grad()
def reflectance_slopes(model: FaceModel, albedo: Tensor) -> Tensor:
    """Derivatives [V, 5, A] of the vertices' `vertex_reflectance` around coefficients [1, A]."""
    step = torch.eye(albedo.shape[1]).to(albedo) * ALBEDO_DIFFERENCE
    values = vertex_reflectance(model, torch.cat([albedo, albedo + step]))
    return ((values[1:] - values[0]) / ALBEDO_DIFFERENCE).permute(1, 2, 0)


def vertex_reflectance(model: FaceModel, albedo: Tensor) -> Tensor:
    """Diffuse albedo, F0 and roughness [N, V, 5] at the vertices, of coefficients [N, A]."""
    reflectance = model.reflectance(albedo)
    return torch.cat([reflectance.diffuse, reflectance.specular, reflectance.roughness], -1)
