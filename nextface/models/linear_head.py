"""A linear face model as its files bring it; what they lack, `nextface/completion/` gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.models.linear_shape import LinearShape
from nextface.models.vertex_albedo import LooksOfFiles, VertexAlbedo


@dataclass
class LinearHead(LooksOfFiles, LinearShape):
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
        self.look(len(self.mean), self.mean.device)

    def to(self, device: str) -> LinearHead:
        """The same model with its tensors on another device."""
        return replace(self, **self.moved(device))
