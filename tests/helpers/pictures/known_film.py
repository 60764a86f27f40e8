"""A film of which everything is known, made ready for the tracking without a reconstruction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from made_shots import made_shot
from rendered_photo import together

from benchmarks.actors import OpenActor
from benchmarks.track import RATE
from nextface.fitting.statistical.terms import StatisticalWeights
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.fitting.tracking.coordinates import DRIFT, FrameCoordinates
from nextface.fitting.tracking.face_points import FacePoints
from nextface.fitting.tracking.frame_problem import FrameProblem, Observed
from nextface.fitting.tracking.frame_view import FrameView
from nextface.fitting.tracking.landmark_habit import LandmarkHabit
from nextface.landmarks.points import Landmarks
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Camera
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import intrinsic_matrix
from renderers.vertex.renderer import VertexRenderer

WEIGHTS = StatisticalWeights(5.0, 1.5, 12.0, 0.15, 0.2)


@dataclass(frozen=True)
class TrueFrame:
    """One frame, and what is to be found in it."""

    truth: Reconstruction
    rgb: np.ndarray  # [H, W, 3] uint8
    points: np.ndarray  # [478, 2] the true head's landmarks

    def state(self) -> np.ndarray:
        """The true unknowns, under the light of the frame itself."""
        parameters = self.truth.parameters
        parts = (parameters.expression, parameters.rotation, parameters.translation)
        return np.concatenate([*(part[0].numpy() for part in parts), np.zeros(DRIFT)]).astype(np.float64)

    def observed(self, side: int | None, noise: float = 0.0) -> Observed:
        """What is seen of it: its landmarks with some pixels of noise, and its picture `side` pixels across."""
        random = np.random.default_rng(0).normal(size=self.points.shape) * noise
        points = torch.from_numpy(self.points + random)
        size = float((points.amax(0) - points.amin(0)).prod().sqrt())
        view = None if side is None else FrameView.of(self.rgb, Landmarks("mediapipe", self.points), side)
        return Observed(points, size, self.truth.parameters.expression[0].double(), view)


@torch.no_grad()
def true_frame(truth: Reconstruction) -> TrueFrame:
    """A frame, drawn without rays."""
    image = VertexRenderer().render(truth.scene(), 1, 0)[0]
    srgb = linear_to_srgb((image[..., :3] + 0.1 * (1 - image[..., 3:])).clamp(0, 1))
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    assert embedding.indices.tolist() == list(range(478))
    points = truth.camera().project(landmark_points(truth.vertices(), truth.model, embedding))[0]
    return TrueFrame(truth, (srgb * 255).round().byte().numpy(), points.double().numpy())


def frames_at(numbers: Sequence[int], size: int, seed: int = 1) -> list[TrueFrame]:
    """Some frames of the benchmark's film."""
    actor = OpenActor(size, seed)
    return [true_frame(actor.posed(number / RATE)) for number in numbers]


def known_problem(keyframes: Sequence[TrueFrame]) -> FrameProblem:
    """What frames are compared with, where the person's reconstruction is the truth."""
    shots = []
    for frame in keyframes:
        skin = torch.zeros(frame.rgb.shape[:2], dtype=torch.bool)
        middle, reach = frame.points.mean(0), np.ptp(frame.points, axis=0) * 0.35
        columns, rows = np.meshgrid(*(np.arange(length) + 0.5 for length in frame.rgb.shape[1::-1]))
        inside = ((columns - middle[0]) / reach[0]) ** 2 + ((rows - middle[1]) / reach[1]) ** 2 < 1
        skin |= torch.from_numpy(inside)
        shots.append(made_shot(torch.from_numpy(frame.rgb / 255).float(), skin, torch.from_numpy(frame.points)))
    person = together([frame.truth for frame in keyframes])
    model = person.model
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    size = keyframes[0].truth.frames[0].width
    focal = keyframes[0].truth.parameters.focal.exp().double()
    still = torch.zeros(1, 3).double()
    camera = Camera(intrinsic_matrix(focal, torch.full((1, 2), size / 2).double()), still, still, size, size)
    looks = [torch.from_numpy(frame.points) for frame in keyframes]
    return FrameProblem(
        FacePoints.of(person, shots, VertexRenderer()),
        LandmarkHabit.of(person, embedding, looks),
        FrameCoordinates(model.expression_prior),
        camera,
        keyframes[0].truth.parameters.light[0],
        person.bands,
        WEIGHTS,
    )


def degrees(one: np.ndarray, other: np.ndarray) -> float:
    """The length of the difference of two small turns, degrees."""
    return math.degrees(float(np.linalg.norm(one - other)))


def with_light(problem: FrameProblem, frame: TrueFrame) -> FrameProblem:
    """The problem with a frame's own light as the main light."""
    return replace(problem, light=frame.truth.parameters.light[0])
