"""A film of which everything is known, tracked: python -m benchmarks.track FOLDER.

Somebody in the open model's span turns, speaks, blinks and looks about while the light moves; mitsuba draws
every frame. Nothing but the film is given to the tracking. What is measured:

- pose: the angle between the head's true turn and the found one, less the constant part that a face model's
frame of reference leaves open (its mean over the film); and the angle with that part in it. - landmarks: where
the true head's landmarks are in the frame, and where the found head's are, over the distance of the true outer
corners of the eyes. - jitter: second differences of the landmarks, less the true ones', in the same unit a
frame^2 (root mean square). - drift: the mean landmark error of the last quarter of the film, less that of the
first one. - lag: by how many frames the found yaw must be moved to be most like the true one. - frames a second
of each part, after the person is reconstructed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

import renderers
from nextface.config import Config
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models import create as create_model
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.runs.film.engine import track
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import focal_pixels
from nextface.scene.lighting import fibonacci_directions
from nextface.system.archive import read_arrays
from nextface.system.progress import Count, Silent
from nextface.videos.film import written
from renderers.renderer import Renderer
from renderers.settings import Settings

RATE = 30.0  # frames a second
FOCAL_35MM = 70.0
SAMPLES = 64  # light paths a pixel
OUTER_CORNERS = (33, 263)  # MediaPipe's points
SHAPES = 12  # identity components that differ from the mean
LARGEST_LAG = 4  # frames to either side that are tried


@dataclass(frozen=True)
class KnownFilm:
    """A film, and the truth of its frames."""

    path: Path
    landmarks: np.ndarray  # [T, L, 2] pixels
    turns: np.ndarray  # [T, 3, 3] model to camera
    expression: np.ndarray  # [T, E]
    corners: tuple[int, int]  # of the landmarks, the outer corners of the eyes


def true_frames(count: int, size: int, seed: int) -> Iterator[Reconstruction]:
    """Somebody in every frame of a film of size x size pixels."""
    model = create_model("open", "cpu", "")
    random = np.random.default_rng(seed)
    identity = torch.zeros(1, model.identity_size)
    identity[0, :SHAPES] = torch.from_numpy(random.normal(size=SHAPES)).float()
    albedo = torch.zeros(1, model.albedo_size)
    albedo[0, :6] = torch.from_numpy(random.normal(size=6) * 0.7).float()
    focal = torch.tensor([math.log(focal_pixels(FOCAL_35MM, size, size))])
    frame = Frame(size, size, torch.full((1, 2), size / 2), np.eye(2, 3))
    for number in range(count):
        moment = number / RATE
        turn = Rotation.from_euler(
            "YXZ",
            [26 * math.sin(2.1 * moment), 9 * math.sin(3.3 * moment + 1), 5 * math.sin(1.7 * moment)],
            True,
        )
        place = [25 * math.sin(1.3 * moment), 12 * math.sin(2.2 * moment), 640 + 40 * math.sin(1.1 * moment)]
        parameters = Parameters(
            identity,
            torch.tensor([[expression_at(moment).get(name, 0.0) for name in model.expression_names]]),
            albedo,
            torch.from_numpy(turn.as_rotvec())[None].float(),
            torch.tensor([place]),
            focal,
            light_at(moment),
        )
        yield Reconstruction(model, parameters, (frame,), bands=9, environment_height=64)


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
    """Log powers [1, LIGHT_LOBES, 3] of a warm light that wanders to the left, over even light."""
    angle = 0.6 - 0.35 * moment
    key = torch.tensor([math.sin(angle), 0.45, math.cos(angle)], dtype=torch.float64)
    key = key / key.norm()
    power = 0.35 + 1.5 * (fibonacci_directions(LIGHT_LOBES) @ key).clamp(min=0) ** 2
    tint = torch.tensor([1.05, 1.0, 0.93], dtype=torch.float64)
    return (power[:, None] * tint * (0.9 * 4 * math.pi / LIGHT_LOBES)).log()[None].float()


@torch.no_grad()
def draw(folder: Path, count: int, size: int, seed: int, renderer: Renderer) -> KnownFilm:
    """Draw the film as folder/film.mp4."""
    path = folder / "film.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    landmarks, turns, expressions = [], [], []
    random = np.random.default_rng(seed)
    behind = np.kron(random.uniform(0.1, 0.5, (6, 6, 3)), np.ones((-(-size // 6), -(-size // 6), 1)))[
        :size, :size
    ]
    model = create_model("open", "cpu", "")
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    pictures = []
    for number, truth in enumerate(true_frames(count, size, seed)):
        image = renderer.render(truth.scene(), SAMPLES, number)[0]
        over = image[..., :3] + (1 - image[..., 3:]) * torch.from_numpy(behind).float()
        pictures.append((linear_to_srgb(over.clamp(0, 1)) * 255).round().byte().numpy())
        camera = truth.camera()
        landmarks.append(camera.project(landmark_points(truth.vertices(), model, embedding))[0].numpy())
        turns.append(camera.turn[0].numpy())
        expressions.append(truth.parameters.expression[0].numpy())
    with written(path, (size, size), None) as film:
        for number, picture in enumerate(pictures):
            film.add(picture, number / RATE)
    known = embedding.indices.tolist()
    corners = (known.index(OUTER_CORNERS[0]), known.index(OUTER_CORNERS[1]))
    return KnownFilm(path, np.stack(landmarks), np.stack(turns), np.stack(expressions), corners)


class Clock(Silent):
    """Tells how long each counted part took, and how long it kept processors busy."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def count(self, name: str, done: int, total: int, unit: str) -> Iterator[Count]:
        start, busy = time.perf_counter(), time.process_time()
        yield self
        self.seconds[name] = time.perf_counter() - start
        self.cpu_seconds[name] = time.process_time() - busy

    def warn(self, text: str) -> None:
        print("warning:", text)


def measure(film: KnownFilm, found: dict[str, np.ndarray]) -> dict[str, float]:
    """The figures of a track of a film."""
    model = create_model("open", "cpu", "")
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    seen = np.flatnonzero(found["take"] >= 0)
    places = []
    identity = torch.from_numpy(found["identity"])[None]
    for frame in seen:
        vertices = model.vertices(identity, torch.from_numpy(found["expression"][frame])[None])
        points = landmark_points(vertices, model, embedding)[0].numpy()
        matrix = found["modelToCamera"][frame]
        image = (points @ matrix[:, :3].T + matrix[:, 3]) @ found["K"].T
        places.append(image[:, :2] / image[:, 2:])
    places, true = np.stack(places), film.landmarks[seen]
    eyes = np.linalg.norm(true[:, film.corners[0]] - true[:, film.corners[1]], axis=1).max()
    errors = 100 * np.linalg.norm(places - true, axis=2).mean(1) / eyes
    shake = 100 * (np.diff(places, 2, 0) - np.diff(true, 2, 0)) / eyes
    true_shake = 100 * np.diff(true, 2, 0) / eyes
    turns = Rotation.from_matrix(found["modelToCamera"][seen][:, :, :3])
    apart = turns.inv() * Rotation.from_matrix(film.turns[seen])
    constant = apart.mean()
    quarter = max(len(seen) // 4, 1)
    moves = film.expression[seen].std(0) > 0.02
    difference = found["expression"][seen][:, moves] - film.expression[seen][:, moves]
    return {
        "frames": len(seen),
        "poseDegrees": float(np.degrees((constant.inv() * apart).magnitude().mean())),
        "poseWithConstantDegrees": float(np.degrees(apart.magnitude().mean())),
        "landmarksPercent": float(errors.mean()),
        "landmarksWorstFramePercent": float(errors.max()),
        "jitterPercent": float(np.sqrt((shake**2).sum(-1).mean())),
        "trueMotionPercent": float(np.sqrt((true_shake**2).sum(-1).mean())),
        "driftPercent": float(errors[-quarter:].mean() - errors[:quarter].mean()),
        "lagFrames": _lag(found["modelToCamera"][seen][:, :, :3], film.turns[seen]),
        "expressionError": float(np.abs(difference).mean()),
    }


def _lag(found: np.ndarray, true: np.ndarray) -> float:
    """By how many frames what was found comes later than the truth, by the head's yaw.

    Parameters
    ----------
    found, true: [T, 3, 3] from model space to the camera frame. A constant part and a factor of the yaw, as a
    face of another shape brings, are left out.
    """
    facing = np.diag([1.0, -1.0, -1.0])
    one, other = (Rotation.from_matrix(facing @ turns).as_euler("YXZ")[:, 0] for turns in (found, true))
    inner = slice(LARGEST_LAG, len(one) - LARGEST_LAG)
    tried = np.arange(-LARGEST_LAG, LARGEST_LAG + 0.01, 0.25)
    frames = np.arange(len(one))
    costs = []
    for shift in tried:
        moved = np.interp(frames + shift, frames, one)[inner]
        columns = np.stack([moved, np.ones_like(moved)], 1)
        solved = np.linalg.lstsq(columns, other[inner], rcond=None)[0]
        costs.append(np.std(columns @ solved - other[inner]))
    return float(tried[int(np.argmin(costs))])


def main() -> None:
    """Draw a film, track it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--renderer", default="mitsuba", help="that draws the film, and fits it")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    renderer = renderers.create(given.renderer, Settings("cpu"))
    try:
        film = draw(given.folder, given.frames, given.size, given.seed, renderer)
    finally:
        renderer.close()
    config = Config(renderer=given.renderer).with_overrides(given.settings)
    clock = Clock()
    start = time.perf_counter()
    folder = track(film.path, given.folder, config, progress=clock)
    figures = measure(film, read_arrays(folder / "track.npz"))
    figures |= {f"framesPerSecond {name}": given.frames / seconds for name, seconds in clock.seconds.items()}
    figures |= {f"framesPerCpuSecond {name}": given.frames / used for name, used in clock.cpu_seconds.items()}
    figures["framesPerSecond"] = given.frames / sum(clock.seconds.values())
    figures["seconds"] = time.perf_counter() - start
    (given.folder / "figures.json").write_text(json.dumps(figures, indent=2))
    for name, value in figures.items():
        print(f"{name:<40} {value:10.3f}")


if __name__ == "__main__":
    main()
