"""Photos of which everything is known: drawn with the project's ray tracer from chosen parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor

import renderers
from nextface.config import Config
from nextface.fitting.terms.landmark_errors import upright_axes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.face_model import FaceModel
from nextface.person.circumstances import Circumstances
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY, Sharing, SharingTable
from nextface.photos.frame import Frame
from nextface.photos.shot import size_of_face
from nextface.scene import Scene
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import focal_pixels
from nextface.scene.lighting import fibonacci_directions
from renderers.settings import Settings

FOCAL_35MM = 85.0  # a portrait lens: the face fills the picture from 76 cm
DISTANCE = 760.0  # mm
BACKGROUND = 0.02  # linear
SAMPLES = 512  # light paths a pixel: enough for a noise of about 1 % under smooth light
EXPRESSION = {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.3, "jawOpen": 0.1, "browInnerUp": 0.3}


def smooth_light() -> Tensor:
    """Log powers [1, LIGHT_LOBES, 3] of a warm light from the upper right over even light."""
    key = torch.nn.functional.normalize(torch.tensor([0.7, 0.5, 0.5], dtype=torch.float64), dim=0)
    power = 0.35 + 1.6 * (fibonacci_directions(LIGHT_LOBES) @ key).clamp(min=0) ** 2
    tint = torch.tensor([1.06, 1.0, 0.92], dtype=torch.float64)
    return (power[:, None] * tint * (0.9 * 4 * math.pi / LIGHT_LOBES)).log()[None].float()


def fitting_config(size: int, **changes: Any) -> Config:
    """Settings that fit a photo of size x size pixels whose focal length is known, with ray tracing."""
    settings: dict[str, Any] = {
        "renderer": "mitsuba",
        "device": "cpu",
        "maxResolution": size,
        "focalLength35mm": FOCAL_35MM,
        "optimizeFocalLength": False,
        "textureResolution": 256,
        "report": False,
    }
    return Config(**(settings | changes))


def person(
    model: FaceModel, size: int, shape_seed: int = 3, turned: tuple[float, float] = (6, 12)
) -> Reconstruction:
    """Somebody with a face of their own, smiling a little, in a photo of size x size pixels.

    Parameters
    ----------
    turned: degrees down and to the side.
    """
    chosen = np.random.default_rng(shape_seed).normal(size=8)
    identity = torch.zeros(1, model.identity_size)
    identity[0, :8] = torch.from_numpy(chosen).float()
    expression = torch.tensor([[EXPRESSION.get(name, 0.0) for name in model.expression_names]])
    albedo = torch.zeros(1, model.albedo_size)
    albedo[0, :3] = torch.tensor([-0.4, -0.5, 0.4])
    pose = Rotation.from_euler("xy", turned, degrees=True)
    parameters = Parameters(
        identity,
        expression,
        albedo,
        rotation=torch.from_numpy(pose.as_rotvec())[None].float(),
        translation=torch.tensor([[12.0, -8.0, DISTANCE]]),
        focal=torch.tensor([math.log(focal_pixels(FOCAL_35MM, size, size))]),
        light=smooth_light(),
    )
    middle = torch.full((1, 2), size / 2)
    frame = Frame(size, size, middle, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    return Reconstruction(model, parameters, (frame,), bands=9, environment_height=64)


def together(
    photos: Sequence[Reconstruction],
    table: SharingTable = SHARED_IDENTITY,
    known: Sequence[Circumstances] | None = None,
) -> Reconstruction:
    """Several photos (N = 1 each), which share by a table what is known to be common: by default the person."""
    sharing = Sharing.of(table, known or [Circumstances()] * len(photos))
    return replace(
        photos[0],
        parameters=sharing.joined([photo.parameters for photo in photos]),
        frames=tuple(photo.frames[0] for photo in photos),
        sharing=sharing,
    )


@dataclass(frozen=True)
class Photograph:
    """A photo on disk and the landmarks that belong to it."""

    photo: Path
    landmarks: Path


def photograph(
    truth: Reconstruction, folder: Path, scene: Scene | None = None, samples: int = SAMPLES
) -> Photograph:
    """Draw the truth, or another scene in its place, and write photo.png and landmarks.json.

    The landmarks are where MediaPipe puts the model's own points on average: fits correct its bias, which
    was measured. They have none of its other errors.
    """
    renderer = renderers.create("mitsuba", Settings("cpu"))
    try:
        with torch.no_grad():
            image = renderer.render(scene or truth.scene(), samples, seed=77)[0]
    finally:
        renderer.close()
    over = image[..., :3] + (1 - image[..., 3:]) * BACKGROUND
    encoded = linear_to_srgb(over.clamp(0, 1)).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    result = Photograph(folder / "photo.png", folder / "landmarks.json")
    Image.fromarray(np.round(encoded * 255).astype(np.uint8)).save(result.photo)
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    assert sorted(embedding.indices.tolist()) == list(range(478))
    points = np.zeros((478, 2))
    seen = truth.camera().project(landmark_points(truth.vertices(), truth.model, embedding))[0].detach()
    if embedding.errors is not None:
        bias = embedding.errors.bias * size_of_face(seen)
        seen = seen + bias @ upright_axes(truth.camera())
    points[embedding.indices.numpy()] = seen.numpy()
    result.landmarks.write_text(json.dumps({"detector": "mediapipe", "points": points.tolist()}))
    return result


def turn_between(one: Tensor, other: Tensor) -> float:
    """Angle in degrees between two rotations [3] (axis-angle)."""
    first, second = (Rotation.from_rotvec(values.double().numpy()) for values in (one, other))
    return math.degrees((first.inv() * second).magnitude())


def rigid_distance(points: Tensor, truth: Tensor) -> float:
    """Root mean square distance in mm of points [P, 3] from true ones, after the best rigid motion (Kabsch)."""
    a, b = (values.double().numpy() for values in (points, truth))
    a, b = a - a.mean(0), b - b.mean(0)
    rotation, _ = Rotation.align_vectors(b, a)
    return float(np.sqrt(((rotation.apply(a) - b) ** 2).sum(1).mean()))


def relative_error(values: Tensor, truth: Tensor) -> tuple[float, float]:
    """Root mean square of values / truth's, after the one gain that fits best, and that gain."""
    values, truth = values.double(), truth.double()
    gain = float((values * truth).sum() / values.square().sum())
    return float((gain * values - truth).norm() / truth.norm()), gain
