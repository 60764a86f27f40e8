"""What a detector usually sees on one person, and what its points ask of a frame.

A detector errs much alike on one face in all frames: it draws it towards the faces that it has learned from. On
keyframes, whose fit has been compared with their photos closely, the difference between what it sees at one
look and where the model's landmarks are is that habit. It is taken off what it sees in every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.fitting.landmarks.surface import LandmarkSurface
from nextface.fitting.terms.landmark_errors import LandmarkWhitening, upright_axes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.bases import neutral_vertices
from nextface.models.face_model import LandmarkEmbedding
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Camera
from nextface.scene.geometry import vertex_normals


@dataclass(frozen=True)
class LandmarkHabit:
    """The landmarks of one person."""

    state: Reconstruction  # of one keyframe (N = 1), for the model and the identity
    embedding: LandmarkEmbedding
    offset: Tensor  # [L, 2] what is detected less what is there, of the face's size, along the face's axes
    normals: Tensor  # [L, 3] unit, of the head at rest
    compared: bool  # whether keyframes told an offset

    @classmethod
    @torch.no_grad()
    def of(
        cls, person: Reconstruction, embedding: LandmarkEmbedding, looks: Sequence[Tensor | None]
    ) -> LandmarkHabit:
        """From the keyframes' fit.

        Parameters
        ----------
        looks: for each keyframe all points [P, 2] that one look saw, in pixels of its processed frame, or None.
        """
        offsets = []
        for number, points in enumerate(looks):
            if points is None:
                continue
            single = person[number]
            camera = single.camera()
            there = camera.project(landmark_points(single.vertices(), single.model, embedding))[0]
            detected = points[embedding.indices].to(there)
            offsets.append((detected - there) @ upright_axes(camera).mT / _size(points))
        state = person[0]
        vertices = neutral_vertices(state.model, state.parameters.identity)
        normals = landmark_points(vertex_normals(vertices, state.model.triangles), state.model, embedding)[0]
        normals = torch.nn.functional.normalize(normals, dim=-1).double().cpu()
        offset = torch.stack(offsets).mean(0) if offsets else normals.new_zeros(len(normals), 2)
        return cls(state, embedding, offset.double().cpu(), normals, bool(offsets))

    def around(self, expression: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks [L, 3] (mm) with an expression [E], their motion [L, 3, E], and normals [L, 3]; float64."""
        identity = self.state.parameters.identity[0]
        model = self.state.model
        surface = LandmarkSurface.around(model, self.embedding, identity, expression.to(identity))
        places = surface.points(identity.double().cpu(), expression.double().cpu())
        return places, surface.expression, self.normals

    def targets(self, detected: Tensor, size: float, camera: Camera) -> Tensor:
        """Where landmarks belong [L, 2], of what was detected [L, 2] in a frame, by this person's habit."""
        return detected - size * self.offset @ upright_axes(camera).to(self.offset)

    def whitening(self, camera: Camera, places: Tensor, normals: Tensor, size: float) -> LandmarkWhitening:
        """How far landmarks at places [L, 3] may be off under a pose."""
        rays = torch.nn.functional.normalize(camera.transform(places[None])[0], dim=-1)
        facing = (-(camera.rotate(normals[None])[0] * rays).sum(-1)).clamp(0, 1)
        contour = self.embedding.contour.to(facing.device)
        trust = self.embedding.weights.to(facing) * torch.where(contour, facing, torch.ones_like(facing))
        return LandmarkWhitening.of(trust, self.embedding.errors, camera, size, self.compared)


def _size(points: Tensor) -> float:
    """Of a face, pixels; as `DetectedLandmarks.face_size`."""
    return float((points.amax(0) - points.amin(0)).prod().sqrt())
