"""A linear face model as its files bring it; what they lack, `nextface/completion/` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import LandmarkEmbedding, Reflectance
from nextface.models.linear_shape import LinearShape
from nextface.models.vertex_albedo import VertexAlbedo


@dataclass
class LinearHead(LinearShape):
    """See `nextface.models.face_model.FaceModel` for what its members mean."""

    name: str
    expression_names: tuple[str, ...]
    expression_prior: ExpressionPrior
    triangles: Tensor  # [F, 3] int64
    uvs: Tensor | None = None  # [T, 2]
    uv_triangles: Tensor | None = None  # [F, 3] int64
    mirror: Tensor | None = None  # [V] int64
    regions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [V] bool
    albedo: VertexAlbedo | None = None  # what the files bring

    identity_size: int = field(init=False)
    albedo_size: int = field(init=False)

    def __post_init__(self) -> None:
        self.identity_size = len(self.identity_basis)
        self.albedo_size = self.albedo.size if self.albedo else 0
        self._seen = self.albedo or VertexAlbedo.plain(len(self.mean), self.regions.get("eyes")).to(
            str(self.mean.device)
        )

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Vertex reflectance of albedo coefficients [N, albedo_size]; one skin where the files bring none."""
        return self._seen.reflectance(albedo)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """None: they are found, or carried from another model."""
        return None

    def to(self, device: str) -> LinearHead:
        """The same model with its tensors on another device."""
        moved: dict[str, Any] = {
            part.name: value.to(device)
            for part in fields(self)
            if part.init
            and isinstance(value := getattr(self, part.name), Tensor | VertexAlbedo | ExpressionPrior)
        }
        return replace(self, **moved, regions={name: mask.to(device) for name, mask in self.regions.items()})
