"""A film of which everything is known, tracked: python -m benchmarks.track FOLDER.

Somebody turns, speaks, blinks and looks about while the light moves (`benchmarks.actors`): a head in the open
model's span, or with `--ict FaceXModel` one of ICT-FaceKit's, which no face model here can be. Nothing but the
film is given to the tracking. FOLDER keeps the film with its truth: another call draws nothing anew. Measured:

- pose: the angle between the head's true turn and the found one, less the constant part that a face model's
frame of reference leaves open (its mean over the film); and how far the middle between the eyes is from where
it was in space, less a constant part and a scale, which a focal length that is not known leaves open.
- landmarks: where the true head's landmarks are in the frame, and where the found head's are, over the largest
distance of the true outer corners of the eyes; the outline is left out, which lies on no fixed skin. Once more
less the constant part, by which the landmarks of two heads differ.
- jitter: second differences of the landmarks less the true ones', in that unit a frame^2 (root mean square).
- drift: the mean landmark error of the last quarter of the film, less that of the first one.
- lag: by how many frames the found yaw must be moved to be most like the true one.
- curves: correlation of the weights of expressions that move with the true ones.
- gaze: the angle between true and found directions of the eyes, less the constant part.
- frames a second of each part, after the person is reconstructed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import renderers
from benchmarks.actors import OUTER_CORNERS, Actor, IctActor, OpenActor
from nextface.config import Config
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models import create as create_model
from nextface.runs.film.engine import track
from nextface.scene.colour import linear_to_srgb
from nextface.system.archive import read_arrays
from nextface.system.progress import Count, Silent
from nextface.videos.film import written
from renderers.settings import Settings

Array = NDArray[np.float64]

RATE = 30.0  # frames a second
LARGEST_LAG = 4  # frames to either side that are tried
MOVES = 0.02  # standard deviation from which on an expression's weight moves


@dataclass(frozen=True)
class KnownFilm:
    """A film, and the truth of its T frames."""

    path: Path
    landmarks: Array  # [T, 478, 2] pixels; NaN where they are hidden or not known
    eyes: Array  # [T, 3] mm, the middle between the outer corners, in the camera frame
    turns: Array  # [T, 3, 3] model to camera
    gaze: Array  # [T, 2, 3] unit directions of both eyes, in model space
    names: list[str]  # of expressions
    weights: Array  # [T, E] of them

    @classmethod
    def read(cls, folder: Path) -> KnownFilm | None:
        """The film that `draw` left in a folder, if it did."""
        path = folder / "truth.npz"
        if not path.is_file():
            return None
        kept = read_arrays(path)
        names = [str(name) for name in kept.pop("names")]
        return cls(folder / "film.mp4", names=names, **kept)


def draw(folder: Path, count: int, size: int, seed: int, actor: Actor) -> KnownFilm:
    """Draw the film as folder/film.mp4, with its truth beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    patch = -(-size // 6)
    behind = np.kron(random.uniform(0.1, 0.5, (6, 6, 3)), np.ones((patch, patch, 1)))[:size, :size]
    truths = []
    with written(folder / "film.mp4", (size, size), None) as film:
        for number in range(count):
            image, truth = actor.at(number / RATE, number)
            over = torch.from_numpy(image[..., :3] + (1 - image[..., 3:]) * behind)
            film.add((linear_to_srgb(over.clamp(0, 1)) * 255).round().byte().numpy(), number / RATE)
            truths.append(truth)
    names = list(truths[0].weights)
    arrays = {
        "landmarks": np.stack([truth.landmarks for truth in truths]),
        "eyes": np.stack([truth.eyes for truth in truths]),
        "turns": np.stack([truth.turn for truth in truths]),
        "gaze": np.stack([truth.gaze for truth in truths]),
        "weights": np.array([[truth.weights[name] for name in names] for truth in truths]),
    }
    np.savez_compressed(folder / "truth.npz", names=names, **arrays)
    return KnownFilm(folder / "film.mp4", names=names, **arrays)


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
    """The figures of a track of a film with the open model."""
    seen = np.flatnonzero(found["take"] >= 0)
    places, eyes = _found_landmarks(found, seen)
    true = film.landmarks[seen]
    unit = np.nanmax(np.linalg.norm(np.subtract(*(true[:, corner] for corner in OUTER_CORNERS)), axis=1))
    off = 100 * (places - true) / unit
    off = off[:, np.isfinite(off).any((0, 2))]
    errors = np.nanmean(np.linalg.norm(off, axis=2), 1)
    shake = np.diff(off, 2, 0)
    true_shake = 100 * np.diff(true, 2, 0) / unit
    turns = Rotation.from_matrix(found["modelToCamera"][seen][:, :, :3])
    apart = turns.inv() * Rotation.from_matrix(film.turns[seen])
    quarter = max(len(seen) // 4, 1)
    return {
        "frames": len(seen),
        "poseDegrees": float(np.degrees((apart.mean().inv() * apart).magnitude().mean())),
        "poseWithConstantDegrees": float(np.degrees(apart.magnitude().mean())),
        "placeMm": _off_in_space(eyes, film.eyes[seen]),
        "landmarksPercent": float(errors.mean()),
        "landmarksWorstFramePercent": float(errors.max()),
        "landmarksLessConstantPercent": float(np.nanmean(np.linalg.norm(off - np.nanmean(off, 0), axis=2))),
        "jitterPercent": float(np.sqrt(np.nanmean((shake**2).sum(-1)))),
        "trueMotionPercent": float(np.sqrt(np.nanmean((true_shake**2).sum(-1)))),
        "driftPercent": float(errors[-quarter:].mean() - errors[:quarter].mean()),
        "lagFrames": _lag(found["modelToCamera"][seen][:, :, :3], film.turns[seen]),
        **_curves(film, found, seen),
        "gazeDegrees": _gaze_off(found["gaze"][seen].astype(float), film.gaze[seen]),
    }


def _found_landmarks(found: dict[str, np.ndarray], seen: np.ndarray) -> tuple[Array, Array]:
    """The tracked head's landmarks [T, 478, 2], NaN where the outline is, and the middle of its eyes [T, 3]."""
    model = create_model("open", "cpu", "")
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    identity = torch.from_numpy(found["identity"])[None]
    places, eyes = np.full((len(seen), 478, 2), np.nan), np.zeros((len(seen), 3))
    known = embedding.indices.numpy()
    for row, frame in enumerate(seen):
        vertices = model.vertices(identity, torch.from_numpy(found["expression"][frame])[None])
        points = np.zeros((478, 3))
        points[known] = landmark_points(vertices, model, embedding)[0].numpy()
        matrix = found["modelToCamera"][frame]
        placed = points @ matrix[:, :3].T + matrix[:, 3]
        image = placed @ found["K"].T
        places[row, known] = image[known, :2] / image[known, 2:]
        eyes[row] = placed[list(OUTER_CORNERS)].mean(0)
    places[:, embedding.indices[embedding.contour].numpy()] = np.nan
    return places, eyes


def _off_in_space(found: Array, true: Array) -> float:
    """Mean distance (mm of the truth) of places [T, 3], after the scale and the shift that suit best."""
    one, other = found - found.mean(0), true - true.mean(0)
    scale = (one * other).sum() / (one**2).sum()
    return float(np.linalg.norm(scale * one - other, axis=1).mean())


def _curves(film: KnownFilm, found: dict[str, np.ndarray], seen: np.ndarray) -> dict[str, float]:
    """How like the weights of expressions are to the true ones."""
    known = [str(name) for name in found["expressionNames"]]
    both = [
        (found["expression"][seen, known.index(name)].astype(float), film.weights[seen, column])
        for column, name in enumerate(film.names)
        if name in known and film.weights[seen, column].std() > MOVES
    ]
    alike = [np.corrcoef(one, other)[0, 1] if one.std() > 0 else 0.0 for one, other in both]
    return {
        "expressionError": float(np.mean([np.abs(one - other).mean() for one, other in both])),
        "expressionCorrelation": float(np.mean(alike)),
    }


def _gaze_off(found: Array, true: Array) -> float:
    """Mean angle (degrees) between directions [T, 2, 3] of the eyes, less the mean turn of each eye."""
    angles = []
    for eye in range(2):
        constant = Rotation.align_vectors(true[:, eye], found[:, eye])[0]
        cosine = (constant.apply(found[:, eye]) * true[:, eye]).sum(1)
        angles.append(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())
    return float(np.mean(angles))


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
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ict", type=Path, help="folder of ICT-FaceKit's light model: one of its heads acts")
    parser.add_argument("--renderer", default="mitsuba", help="that draws the open head, and fits the film")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    film = KnownFilm.read(given.folder)
    if film is None:
        renderer = renderers.create(given.renderer, Settings("cpu"))
        actor: Actor = (
            IctActor(given.ict, given.size, given.seed)
            if given.ict
            else OpenActor(given.size, given.seed, renderer)
        )
        try:
            film = draw(given.folder, given.frames, given.size, given.seed, actor)
        finally:
            renderer.close()
    config = Config(renderer=given.renderer).with_overrides(given.settings)
    clock = Clock()
    start = time.perf_counter()
    folder = track(film.path, given.folder, config, progress=clock)
    figures = measure(film, read_arrays(folder / "track.npz"))
    count = len(film.turns)
    figures |= {f"framesPerSecond {name}": count / seconds for name, seconds in clock.seconds.items()}
    figures |= {f"framesPerCpuSecond {name}": count / used for name, used in clock.cpu_seconds.items()}
    figures["framesPerSecond"] = count / sum(clock.seconds.values())
    figures["seconds"] = time.perf_counter() - start
    (given.folder / "figures.json").write_text(json.dumps(figures, indent=2))
    for name, value in figures.items():
        print(f"{name:<40} {value:10.3f}")


if __name__ == "__main__":
    main()
