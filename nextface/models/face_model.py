"""The protocol of a face model: coefficients in, vertices and vertex reflectance out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior


@dataclass(frozen=True)
class Reflectance:
    """Reflectance at every vertex, linear and physically plausible by construction."""

    diffuse: Tensor  # [N, V, 3] linear RGB albedo in [0, 1]
    specular: Tensor  # [N, V, 1] F0 in [0, 0.08]
    roughness: Tensor  # [N, V, 1] in [0.1, 1]


@dataclass(frozen=True)
class LandmarkErrors:
    """How far a detector's points lie from an embedding's, on faces of the model.

    All are fractions of the face's size, along the face's own axes in the photo: to the right in an upright
    picture, and down.
    """

    bias: Tensor  # [L, 2] mean of detected points less embedded ones
    modes: Tensor  # [L, 2, M] errors that many points make together, each at one standard deviation
    spread: Tensor  # [L] standard deviation of what each point errs beside them, along either axis


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Where detector points lie on the model's surface, as barycentric coordinates."""

    detector: str  # "mediapipe" (478 points) or "fan" (68 points)
    indices: Tensor  # [L] int64, the detector's point numbers
    triangles: Tensor  # [L] int64, triangle of each point
    barycentric: Tensor  # [L, 3] float, weights of the triangle's three vertices
    weights: Tensor  # [L] float >= 0, trust in each point (low where views disagreed)
    contour: Tensor  # [L] bool, points of the view-dependent face outline
    errors: LandmarkErrors | None = None  # as far as they were measured


class FaceModel(Protocol):
    """A parametric head. Coefficients of identity and albedo are in standard deviations.

    Joints (jaw, neck, eyes) are coordinates of the expression, three angles each (axis-angle, radians). A
    coordinate that is named like a detector's blendshape ("jawOpen") takes part of that one's score.

    Model space: millimetres, x right (the subject's left), y up, z towards the viewer, origin near the
    middle of the head. Implementations hold constant tensors on one device and never name an optimiser.
    """

    name: str
    identity_size: int
    albedo_size: int  # 0: the model has no albedo statistics
    expression_names: tuple[str, ...]
    expression_prior: ExpressionPrior  # mean, spread and bounds of each coordinate
    triangles: Tensor  # [F, 3] int64
    uvs: Tensor | None  # [T, 2] float in [0, 1], charts that do not overlap
    uv_triangles: Tensor | None  # [F, 3] int64 into `uvs`
    mirror: Tensor | None  # [V] int64, each vertex's mirror image
    regions: Mapping[str, Tensor]  # name -> [V] bool: skin, lips, brows, eyes, ears, scalp, neck, ...

    @property
    def linear(self) -> bool:
        """Whether `vertices` is linear in all coefficients, so that slopes hold everywhere."""
        ...

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices [N, V, 3] (mm) of identity [N, identity_size] and expression [N, E] coefficients.

        Differentiable in both; values a little outside the bounds are allowed.
        """
        ...

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """Vertex reflectance of albedo coefficients [N, albedo_size]."""
        ...

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """The shipped or cached embedding for a detector, or None where it must be computed."""
        ...

    def to(self, device: str) -> FaceModel:
        """The same model with its tensors on another device."""
        ...
