"""What belongs to a photo and a face model together: where landmarks lie on it, and what they let expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from nextface.fitting.terms.landmark_errors import LandmarkWhitening
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.person.reconstruction import Reconstruction
from nextface.photos.observation import Observation
from nextface.photos.shot import DetectedLandmarks, LensPrior, Shot
from nextface.scene import Camera, Scene

SCORE_SHARE = 0.5  # of a detector's blendshape score that is expected as a coefficient
# Lips part where the jaw opens and where they are drawn back over closed teeth, and their landmarks do not tell
# which. The detector's score does: on renders of the embedded head it is the coefficient, to 0.1.
JAW, JAW_SPREAD = "jawOpen", 0.03


@dataclass(frozen=True)
class ShotOnModel:
    """A photo, and where its detector's points lie on a face model."""

    shot: Shot
    model: FaceModel
    embedding: LandmarkEmbedding
    # Where landmarks belong by comparison with a fit (`second_look`), [L, 2] pixels; None: not compared.
    compared: Tensor | None = field(default=None, kw_only=True)

    @property
    def observation(self) -> Observation:
        """The photo's pixels."""
        return self.shot.observation

    @property
    def landmarks(self) -> DetectedLandmarks:
        """All points that were detected."""
        return self.shot.landmarks

    @property
    def lens(self) -> LensPrior:
        """What is known of the focal length."""
        return self.shot.lens

    @property
    def targets(self) -> Tensor:
        """Where the model's landmarks belong, [L, 2] pixels: where they were detected, or compared."""
        return self.landmarks.points[self.embedding.indices] if self.compared is None else self.compared

    @cached_property
    def expression_prior(self) -> ExpressionPrior:
        """The model's, with what the detector's scores let expect where they speak of a coordinate."""
        return expected_expression(self.model, self.landmarks.blendshapes)

    def points(self, vertices: Tensor) -> Tensor:
        """Where the landmarks lie [N, L, 3] on vertices [N, V, 3]."""
        return landmark_points(vertices, self.model, self.embedding)

    def offsets(self, vertices: Tensor, camera: Camera) -> Tensor:
        """Offsets [L, 2] in pixels of the landmarks on vertices [1, V, 3] from their targets."""
        return camera.project(self.points(vertices))[0] - self.targets

    def posed(self, state: Reconstruction) -> PosedShot:
        """This, with what the pose of the photo's reconstruction (N = 1) says of the landmarks' errors."""
        trust = landmark_weights(state.scene(), self.embedding)
        size = self.landmarks.face_size
        compared = self.compared is not None
        whitening = LandmarkWhitening.of(trust, self.embedding.errors, state.camera(), size, compared)
        return PosedShot(self.shot, self.model, self.embedding, whitening, compared=self.compared)


@dataclass(frozen=True)
class PosedShot(ShotOnModel):
    """A photo on a model whose pose is about known."""

    whitening: LandmarkWhitening  # of the landmarks' offsets


def expected_expression(model: FaceModel, scores: Mapping[str, float]) -> ExpressionPrior:
    """A model's expression prior, with what a detector's scores by name let expect."""
    prior = model.expression_prior
    expected, spread = prior.mean.clone(), prior.spread.clone()
    for number, name in enumerate(model.expression_names):
        if name in scores:
            expected[number] = (1 if name == JAW else SCORE_SHARE) * scores[name]
            spread[number] = JAW_SPREAD if name == JAW else spread[number]
    return replace(prior, mean=expected, spread=spread)


def posed(shots: Sequence[ShotOnModel], reconstruction: Reconstruction) -> list[PosedShot]:
    """All photos of a reconstruction under their present poses."""
    return [shot.posed(reconstruction[photo]) for photo, shot in enumerate(shots)]


def landmark_points(vertices: Tensor, model: FaceModel, embedding: LandmarkEmbedding) -> Tensor:
    """Landmark positions [N, L, 3] on vertices [N, V, 3]."""
    corners = vertices[:, model.triangles[embedding.triangles]]
    return (corners * embedding.barycentric[..., None].to(vertices)).sum(2)


def landmark_weights(scene: Scene, embedding: LandmarkEmbedding) -> Tensor:
    """Trust [L] in each landmark under the pose of a scene of one photo.

    Points of the face's outline lie where the photo's outline is, not on fixed skin: they count only on the
    side that the camera sees, and less the more the surface turns away.
    """
    vertex = scene.mesh.triangles[embedding.triangles, 0]
    normals = scene.camera.rotate(scene.mesh.normals)[0, vertex]
    rays = torch.nn.functional.normalize(scene.camera.transform(scene.mesh.vertices)[0, vertex], dim=-1)
    facing = (-(normals * rays).sum(-1)).clamp(0, 1)
    return embedding.weights.to(facing) * torch.where(embedding.contour, facing, torch.ones_like(facing))
