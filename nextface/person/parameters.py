"""What the stages optimise, and which of it belongs to the person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

LIGHT_LOBES = 256  # more than the 144 coefficients of 12 bands, so that lobes span every band


@dataclass(frozen=True)
class Parameters:
    """What the stages optimise: one person in N photos."""

    identity: Tensor  # [1, identity_size] standard deviations
    expression: Tensor  # [N, E] within the model's bounds
    albedo: Tensor  # [1, albedo_size] standard deviations
    rotation: Tensor  # [N, 3] pose: axis-angle, radians, away from facing the camera (geometry.pose_matrix)
    translation: Tensor  # [N, 3] mm, model to camera
    focal: Tensor  # [N] log of the focal length in pixels
    light: Tensor  # [N, LIGHT_LOBES, 3] log of each lobe's power

    def detached(self) -> Parameters:
        """Copies outside any autograd graph, which no optimiser changes in place."""
        return Parameters(**{item.name: getattr(self, item.name).detach().clone() for item in fields(self)})

    def to(self, device: str) -> Parameters:
        """The same values on another device."""
        return Parameters(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def __getitem__(self, photo: int) -> Parameters:
        """Those of one photo, with N = 1; gradients reach these tensors."""
        pick = slice(photo, photo + 1)
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Parameters(
            **{name: value if name in OF_THE_PERSON else value[pick] for name, value in values.items()}
        )

    @classmethod
    def joined(cls, photos: Sequence[Parameters]) -> Parameters:
        """Parameters of N photos from N times one photo's, with the first one's identity and albedo."""
        return cls(
            **{
                item.name: getattr(photos[0], item.name)
                if item.name in OF_THE_PERSON
                else torch.cat([getattr(photo, item.name) for photo in photos])
                for item in fields(cls)
            }
        )

    def is_finite(self) -> bool:
        """True if no value is NaN or infinite."""
        return all(bool(torch.isfinite(getattr(self, item.name)).all()) for item in fields(self))


OF_THE_PERSON = ("identity", "albedo")  # parameters that all photos share
