"""What the stages optimise."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

LIGHT_LOBES = 256  # more than the 144 coefficients of 12 bands, so that lobes span every band


@dataclass(frozen=True)
class Parameters:
    """What the stages optimise: one person in N photos.

    Each has R rows; `nextface.person.sharing.Sharing` says which of them a photo uses.
    """

    identity: Tensor  # [R, identity_size] standard deviations
    expression: Tensor  # [R, E] within the model's bounds
    albedo: Tensor  # [R, albedo_size] standard deviations
    rotation: Tensor  # [R, 3] pose: axis-angle, radians, away from facing the camera (geometry.pose_matrix)
    translation: Tensor  # [R, 3] mm, model to camera
    focal: Tensor  # [R] log of the focal length in pixels
    light: Tensor  # [R, LIGHT_LOBES, 3] log of each lobe's power

    def detached(self) -> Parameters:
        """Copies outside any autograd graph, which no optimiser changes in place."""
        return Parameters(**{item.name: getattr(self, item.name).detach().clone() for item in fields(self)})

    def to(self, device: str) -> Parameters:
        """The same values on another device."""
        return Parameters(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def is_finite(self) -> bool:
        """True if no value is NaN or infinite."""
        return all(bool(torch.isfinite(getattr(self, item.name)).all()) for item in fields(self))
