"""Shapes that are a mean and a sum of displacements."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class LinearShape:
    """The shape's part of a face model whose vertices are linear in its coefficients."""

    mean: Tensor  # [V, 3] mm
    identity_basis: Tensor  # [K, V, 3] mm a standard deviation
    expression_basis: Tensor  # [E, V, 3] mm a unit of each coordinate

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices [N, V, 3] (mm) of identity [N, K] and expression [N, E] coefficients."""
        # Sums are made within the products: for all coefficients at once, stage 1 has no larger tensors.
        placed = torch.addmm(
            self.mean.flatten().to(identity), identity, self.identity_basis.flatten(1).to(identity)
        )
        placed = torch.addmm(placed, expression.to(identity), self.expression_basis.flatten(1).to(identity))
        return placed.unflatten(1, self.mean.shape)

    @property
    def linear(self) -> bool:
        """Protocol: `nextface.models.face_model.FaceModel.linear`."""
        return True
