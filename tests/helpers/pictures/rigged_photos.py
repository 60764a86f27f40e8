"""Photos that cameras of a known rig took of one head at one moment, drawn without rays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rendered_photo import BACKGROUND, person, together

from benchmarks.rigs import around
from nextface.cameras.view import Place, View
from nextface.fitting.terms.landmark_errors import upright_axes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.face_model import FaceModel
from nextface.person.arrangement import MOMENT
from nextface.person.circumstances import Circumstances
from nextface.person.reconstruction import Reconstruction
from nextface.photos.lens import Lens
from nextface.photos.shot import size_of_face
from nextface.scene.colour import linear_to_srgb
from renderers.vertex.renderer import VertexRenderer


def rigged(model: FaceModel, size: int, yaws: tuple[float, ...]) -> Reconstruction:
    """Somebody before a rig, under one light of the world."""
    one = person(model, size)
    rig = around([(yaw, 0.0) for yaw in yaws], float(one.parameters.translation[0, 2]))
    known = [Circumstances(moment="one", camera="all")] * len(rig)
    several = together([one] * len(rig), MOMENT, known)
    return replace(several, rig=rig, mounts=tuple(range(len(rig))), light_of_world=True)


def true_views(truth: Reconstruction) -> list[View]:
    """The rig's cameras; the world is the rig's frame, mm."""
    rig, views = truth.rig, []
    assert rig is not None
    for photo, frame in enumerate(truth.frames):
        matrix = truth.camera(photo).intrinsics[0].double().numpy()
        place = Place(rig.turn(photo).double().numpy(), rig.translation[photo].double().numpy())
        views.append(View(f"{photo}.png", Lens(frame.width, frame.height, matrix), place))
    return views


def photographed(truth: Reconstruction, folder: Path) -> tuple[Path, Path]:
    """Write the photos, and their landmarks where MediaPipe puts the model's own points on average.

    Returns
    -------
    The photos' folder, and the landmarks'.
    """
    photos, points = folder / "photos", folder / "points"
    photos.mkdir(), points.mkdir()
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    for photo in range(len(truth)):
        with torch.no_grad():
            image = VertexRenderer().render(truth.scene(photo), 1, 0)[0]
        encoded = linear_to_srgb((image[..., :3] + (1 - image[..., 3:]) * BACKGROUND).clamp(0, 1))
        Image.fromarray(np.round(encoded.numpy() * 255).astype(np.uint8)).save(photos / f"{photo}.png")
        camera, vertices = truth.camera(photo), truth[photo].vertices()
        seen = camera.project(landmark_points(vertices, truth.model, embedding))[0].detach()
        if embedding.errors is not None:
            seen = seen + embedding.errors.bias * size_of_face(seen) @ upright_axes(camera)
        listed = np.zeros((478, 2))
        listed[embedding.indices.numpy()] = seen.numpy()
        content = json.dumps({"detector": "mediapipe", "points": listed.tolist()})
        (points / f"{photo}.json").write_text(content)
    return photos, points
