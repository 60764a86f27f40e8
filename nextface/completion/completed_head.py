"""A face model together with what its files lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from nextface.models.appearance import Appearance
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import FaceModel, LandmarkEmbedding, LandmarkErrors, Reflectance


@dataclass
class CompletedHead:
    """Shape and topology of a model, with parts of another's; see `nextface.models.face_model.FaceModel`."""

    own: FaceModel  # as its files bring it
    uvs: Tensor | None  # [T, 2]
    uv_triangles: Tensor | None  # [F, 3] int64
    mirror: Tensor | None  # [V] int64
    regions: Mapping[str, Tensor]  # name -> [V] bool
    skin: Appearance | None  # in place of its own reflectance, where that is nobody's in particular
    embeddings: Mapping[str, LandmarkEmbedding]  # by their detectors
    carried: tuple[str, ...]  # what comes from elsewhere, in words
    lacks: tuple[str, ...]  # what nothing could give, in words

    name: str = field(init=False)
    identity_size: int = field(init=False)
    albedo_size: int = field(init=False)
    expression_names: tuple[str, ...] = field(init=False)
    expression_prior: ExpressionPrior = field(init=False)
    triangles: Tensor = field(init=False)

    def __post_init__(self) -> None:
        own = self.own
        self.name, self.identity_size, self.triangles = own.name, own.identity_size, own.triangles
        self.expression_names, self.expression_prior = own.expression_names, own.expression_prior
        self.albedo_size = own.albedo_size if self.skin is None else len(self.skin.undertone) - 1

    @property
    def linear(self) -> bool:
        """Protocol: `nextface.models.face_model.FaceModel.linear`."""
        return self.own.linear

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices [N, V, 3] (mm) of identity [N, K] and expression [N, E] coefficients."""
        return self.own.vertices(identity, expression)

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Vertex reflectance of albedo coefficients [N, A], in standard deviations."""
        return self.own.reflectance(albedo) if self.skin is None else self.skin.reflectance(albedo)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """The carried embedding for a detector, or the model's own."""
        return self.embeddings.get(detector) or self.own.landmarks(detector)

    def to(self, device: str) -> CompletedHead:
        """The same model with its tensors on another device."""
        return replace(
            self,
            own=self.own.to(device),
            uvs=None if self.uvs is None else self.uvs.to(device),
            uv_triangles=None if self.uv_triangles is None else self.uv_triangles.to(device),
            mirror=None if self.mirror is None else self.mirror.to(device),
            regions={name: mask.to(device) for name, mask in self.regions.items()},
            skin=None if self.skin is None else self.skin.to(device),
            embeddings={name: _moved(one, device) for name, one in self.embeddings.items()},
        )


def _moved(embedding: LandmarkEmbedding, device: str) -> LandmarkEmbedding:
    errors = embedding.errors
    return replace(
        embedding,
        **{
            name: getattr(embedding, name).to(device)
            for name in ("indices", "triangles", "barycentric", "weights", "contour")
        },
        errors=errors
        and LandmarkErrors(errors.bias.to(device), errors.modes.to(device), errors.spread.to(device)),
    )
