"""Where landmarks lie in space, as coefficients move them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.models.slopes import shape_slopes


@dataclass(frozen=True)
class LandmarkSurface:
    """The landmarks' 3D positions as an affine function of the coefficients, around a given face."""

    origin: Tensor  # [L, 3] mm
    identity: Tensor  # [L, 3, identity_size] mm a standard deviation
    expression: Tensor  # [L, 3, E] mm a unit

    @classmethod
    def around(
        cls, model: FaceModel, embedding: LandmarkEmbedding, identity: Tensor, expression: Tensor
    ) -> LandmarkSurface:
        """Linearise a model at identity [identity_size] and expression [E], exactly if it is linear."""
        if not model.linear:
            return cls._around_curved(model, embedding, identity, expression)
        for known, places, surface in _recent:  # there is one, and finding it takes half a second
            if known is model and places is embedding:
                return surface
        found = cls._flat(model, embedding, len(identity), str(identity.device))
        _recent[:] = [(model, embedding, found)]
        return found

    @classmethod
    def _flat(cls, model: FaceModel, embedding: LandmarkEmbedding, shapes: int, device: str) -> LandmarkSurface:
        """The same where slopes are the same everywhere, of `shapes` identity coefficients."""
        step = 0.1
        changes = torch.eye(shapes + len(model.expression_names), device=device) * step
        changes = torch.cat([torch.zeros_like(changes[:1]), changes])
        points = landmark_points(model.vertices(changes[:, :shapes], changes[:, shapes:]), model, embedding)
        slopes = ((points[1:] - points[0]) / step).permute(1, 2, 0).double().cpu()  # where the solver runs
        return cls(points[0].double().cpu(), slopes[..., :shapes], slopes[..., shapes:])

    @classmethod
    def _around_curved(
        cls, model: FaceModel, embedding: LandmarkEmbedding, identity: Tensor, expression: Tensor
    ) -> LandmarkSurface:
        """The same where slopes change from place to place."""

        def shown(vertices: Tensor) -> Tensor:
            return landmark_points(vertices, model, embedding)

        slopes = shape_slopes(model, identity, expression, shown).double().cpu()
        here = shown(model.vertices(identity[None], expression[None]))[0].double().cpu()
        origin = here - slopes @ torch.cat([identity, expression]).double().cpu()
        by_identity, by_expression = slopes.split([len(identity), len(expression)], -1)
        return cls(origin, by_identity, by_expression)

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions [L, 3] in model space, mm."""
        return self.origin + self.identity @ identity + self.expression @ expression


# Those asked for last: identity, not equality, because comparing is slow.
_recent: list[tuple[FaceModel, LandmarkEmbedding, LandmarkSurface]] = []
