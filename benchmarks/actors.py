"""People who act in a film of which everything is known: one of the open model's, and one of ICT-FaceKit's.

Both turn, speak, smile, blink and look about in the same way, under a warm light that wanders from one side to
the other and back. The open head is one that the tracking's own face model can be, drawn by this project; the
head of ICT-FaceKit's light model is none, and has painted skin, brows, eyes and hair, drawn by Mitsuba's own
parts (`benchmarks.ground_truth`). Places are those of a camera in the frame that OpenCV has, mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from benchmarks.ground_truth.__main__ import average_landmarks
from benchmarks.ground_truth.drawing import Studio, Surface
from benchmarks.ground_truth.heads import EYE, INSIDE, IctModel, turned
from benchmarks.ground_truth.photographs import SKIN_F0, WET_F0
from benchmarks.ground_truth.points import detected, seen
from benchmarks.ground_truth.skin import paint
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models import create as create_model
from nextface.models.gaze import eyeball_regions, gaze_directions
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene.geometry import focal_pixels
from nextface.scene.lighting import fibonacci_directions, map_directions
from renderers.renderer import Renderer

Array = NDArray[np.float64]

FOCAL_35MM = 70.0
SAMPLES = 16  # light paths a pixel
SHAPES = 12  # of the open head's identity components that differ from the mean
OUTER_CORNERS = (33, 263)  # of the eyes, among MediaPipe's 478 points
MIDDLE_MM = 650.0  # from the camera to ICT-FaceKit's head
AMBIENT, KEY = 0.35, 1.5  # strength of the even light, and of the one that wanders
TINT = (1.05, 1.0, 0.93)
EXPOSURE = 0.9
STANDS_FOR = {"mouthFunnel": "mouthPucker"}  # what ICT-FaceKit's light model lacks, and has
LARGEST_LOOK = 25.0  # degrees that ICT-FaceKit's eyes turn for a weight of 1


@dataclass(frozen=True)
class Truth:
    """What is true in one frame."""

    landmarks: Array  # [478, 2] MediaPipe's points, pixels; NaN where they are hidden or not known
    eyes: Array  # [3] mm, in the middle between the outer corners of the eyes
    turn: Array  # [3, 3] from model space to the camera frame
    gaze: Array  # [2, 3] unit directions of the left and the right eye, in model space
    weights: dict[str, float]  # of expressions, by ARKit's names


class Actor(Protocol):
    """Somebody in front of a camera."""

    def at(self, moment: float, number: int) -> tuple[Array, Truth]:
        """The picture [S, S, 4] (linear, premultiplied) at a moment (s), frame `number`, and its truth."""
        ...


class OpenActor:
    """Somebody in the open model's span, in a picture of size x size pixels."""

    def __init__(self, size: int, seed: int, renderer: Renderer | None = None) -> None:
        random = np.random.default_rng(seed)
        self.model = create_model("open", "cpu", "")
        self._renderer, self._size = renderer, size
        self._identity = torch.zeros(1, self.model.identity_size)
        self._identity[0, :SHAPES] = torch.from_numpy(random.normal(size=SHAPES)).float()
        self._albedo = torch.zeros(1, self.model.albedo_size)
        self._albedo[0, :6] = torch.from_numpy(random.normal(size=6) * 0.7).float()

    def posed(self, moment: float) -> Reconstruction:
        """Everything of a moment (s)."""
        yaw, pitch, roll = head_turn(moment)
        weights = expression_at(moment)
        size = self._size
        parameters = Parameters(
            self._identity,
            torch.tensor([[weights.get(name, 0.0) for name in self.model.expression_names]]),
            self._albedo,
            torch.from_numpy(Rotation.from_euler("YXZ", [yaw, pitch, roll], True).as_rotvec())[None].float(),
            torch.tensor([[*head_shift(moment)]]) + torch.tensor([[0.0, 0.0, 640.0]]),
            torch.tensor([math.log(focal_pixels(FOCAL_35MM, size, size))]),
            light_at(moment),
        )
        frame = Frame(size, size, torch.full((1, 2), size / 2), np.eye(2, 3))
        return Reconstruction(self.model, parameters, (frame,), bands=9, environment_height=64)

    @torch.no_grad()
    def at(self, moment: float, number: int) -> tuple[Array, Truth]:
        """As `Actor`."""
        assert self._renderer is not None
        truth = self.posed(moment)
        embedding = self.model.landmarks("mediapipe")
        assert embedding is not None and embedding.indices.tolist() == list(range(478))
        vertices, camera = truth.vertices(), truth.camera()
        points = landmark_points(vertices, self.model, embedding)
        corners = camera.transform(points)[0, list(OUTER_CORNERS)].double().numpy()
        rest = self.model.vertices(self._identity, torch.zeros_like(truth.parameters.expression))[0]
        gaze = gaze_directions(rest, vertices, eyeball_regions(self.model, rest))[0]
        return self._renderer.render(truth.scene(), SAMPLES, number)[0].double().numpy(), Truth(
            camera.project(points)[0].double().numpy(),
            corners.mean(0),
            camera.turn[0].double().numpy(),
            gaze.double().numpy(),
            expression_at(moment),
        )


class IctActor:
    """Somebody of ICT-FaceKit's light model, whose folder is named, in a picture of size x size pixels.

    It brings fewer expressions: what it lacks is left out, `mouthFunnel` is a pout, and its eyes are turned as
    balls. Where MediaPipe's points lie on the head is found on a frontal picture of it at rest.
    """

    def __init__(self, folder: Path, size: int, seed: int, tone: str = "light") -> None:
        self._size = size
        self._head, self._units = IctModel(folder).acting(seed)
        self._look = paint(self._head, average_landmarks(self._head), tone, seed)
        rest = self._head.neutral
        self._points = detected(rest, self._head, self._look.colour, self._look.roughness)
        self._soft = (self._head.part <= INSIDE)[self._head.triangles].all(1)
        eyes = self._head.part == EYE
        self._eyeballs = [np.flatnonzero(eyes & (side * rest[:, 0] > 0)) for side in (1, -1)]
        self._middle = self._points.at(rest)[list(OUTER_CORNERS)].mean(0) - [0, 30, 0]

    def at(self, moment: float, number: int) -> tuple[Array, Truth]:
        """As `Actor`."""
        told = expression_at(moment)
        named = {STANDS_FOR.get(name, name): weight for name, weight in told.items()}
        weights = {name: weight for name, weight in named.items() if name in self._units}
        shape = self._head.neutral + sum(weight * self._units[name] for name, weight in weights.items())
        look = math.radians(LARGEST_LOOK * (told["eyeLookOutLeft"] - told["eyeLookInLeft"]))
        about = Rotation.from_rotvec([0, look, 0])  # both to the subject's left, which is +x
        for ball in self._eyeballs:
            box = shape[ball]
            radius = np.ptp(box[:, 0]) / 2
            centre = np.array([*((box.min(0) + box.max(0)) / 2)[:2], box[:, 2].min() + radius])
            shape[ball] = about.apply(box - centre) + centre
        yaw, pitch, roll = head_turn(moment)
        turn = turned(yaw, pitch, roll)
        placed = turn.apply(shape - self._middle) + head_shift(moment) + [0, 0, MIDDLE_MM]
        studio = self._studio(placed)
        picture = studio.radiance(_light_map(moment), SAMPLES, number)
        return picture.astype(float), Truth(
            seen(self._points, self._head, placed, studio),
            self._points.at(placed)[list(OUTER_CORNERS)].mean(0),
            turn.as_matrix(),
            np.tile(about.apply([0, 0, 1.0]), (2, 1)),
            weights,
        )

    def _studio(self, placed: Array) -> Studio:
        """The head with vertices [V, 3] in the camera frame, in front of the camera."""
        surfaces = [
            Surface(placed, self._head.triangles[chosen], self._look.colour, self._look.roughness, f0 / 0.08)
            for chosen, f0 in ((self._soft, SKIN_F0), (~self._soft, WET_F0))
        ]
        return Studio(surfaces, float(focal_pixels(FOCAL_35MM, self._size, self._size)), self._size)


def head_turn(moment: float) -> tuple[float, float, float]:
    """Yaw, pitch and roll of the head at a moment (s), degrees."""
    return (
        26 * math.sin(2.1 * moment),
        9 * math.sin(3.3 * moment + 1),
        5 * math.sin(1.7 * moment),
    )


def head_shift(moment: float) -> tuple[float, float, float]:
    """Where the head is at a moment (s), off its usual place; mm in the camera frame."""
    return 25 * math.sin(1.3 * moment), 12 * math.sin(2.2 * moment), 40 * math.sin(1.1 * moment)


def expression_at(moment: float) -> dict[str, float]:
    """What a face does at a moment (s): speaks, smiles now and then, lifts a brow, blinks and looks about."""
    speech = max(math.sin(9.0 * moment), 0) * (0.6 + 0.4 * math.sin(2.6 * moment))
    smile = 0.5 * max(math.sin(1.5 * moment - 0.5), 0) ** 2
    blink = math.exp(-((((moment + 0.4) % 1.3) - 0.65) ** 2) / (2 * 0.05**2))
    aside = 0.6 * math.sin(1.9 * moment)
    return {
        "jawOpen": 0.45 * speech,
        "mouthFunnel": 0.4 * max(math.sin(5.1 * moment), 0),
        "mouthSmileLeft": smile,
        "mouthSmileRight": 0.9 * smile,
        "browInnerUp": 0.5 * max(math.sin(1.1 * moment), 0),
        "eyeBlinkLeft": blink,
        "eyeBlinkRight": blink,
        "eyeLookOutLeft": max(aside, 0.0),
        "eyeLookInRight": max(aside, 0.0),
        "eyeLookInLeft": max(-aside, 0.0),
        "eyeLookOutRight": max(-aside, 0.0),
    }


def light_at(moment: float) -> Tensor:
    """Log powers [1, LIGHT_LOBES, 3] of a warm light that wanders from side to side, over even light."""
    strength = _strength(fibonacci_directions(LIGHT_LOBES), moment)
    return (strength * (EXPOSURE * 4 * math.pi / LIGHT_LOBES)).log()[None].float()


def _light_map(moment: float) -> Array:
    """The same as a map [32, 64, 3] of radiance, at its exposure."""
    return (_strength(map_directions(32).double(), moment) * EXPOSURE).numpy()


def _strength(directions: Tensor, moment: float) -> Tensor:
    """The light's colour [..., 3] from directions [..., 3] in the light frame, at a moment (s)."""
    angle = 0.7 * math.cos(0.8 * moment)  # there and back in 8 s
    key = torch.tensor([math.sin(angle), 0.45, math.cos(angle)], dtype=torch.float64)
    key = key / key.norm()
    power = AMBIENT + KEY * (directions.double() @ key).clamp(min=0) ** 2
    return power[..., None] * torch.tensor(TINT, dtype=torch.float64)
