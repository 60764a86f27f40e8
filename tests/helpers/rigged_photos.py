"""Photos that cameras of a known rig took of one head at one moment, drawn without rays."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rendered_photo import BACKGROUND, person, together
from scipy.spatial.transform import Rotation

from nextface.cameras.view import Place, View
from nextface.fitting.terms.landmark_errors import upright_axes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.face_model import FaceModel
from nextface.person.arrangement import MOMENT
from nextface.person.circumstances import Circumstances
from nextface.person.reconstruction import Reconstruction
from nextface.photos.lens import Lens
from nextface.photos.shot import size_of_face
from nextface.scene import Rig
from nextface.scene.colour import linear_to_srgb
from renderers.vertex.renderer import VertexRenderer


def around(yaws: tuple[float, ...], distance: float) -> Rig:
    """Cameras that look at one point from several sides (degrees), the first from the frame's origin."""
    turns = [Rotation.from_euler("y", yaw, degrees=True) for yaw in yaws]
    middle = np.array([0.0, 0.0, distance])
    places = np.stack([middle - turn.apply(middle) for turn in turns])
    rotation = np.stack([turn.as_rotvec() for turn in turns])
    known = (True,) * len(yaws)
    return Rig(torch.from_numpy(rotation).float(), torch.from_numpy(places).float(), known, True)


def rigged(model: FaceModel, size: int, yaws: tuple[float, ...]) -> Reconstruction:
    """Somebody before a rig, under one light of the world."""
    one = person(model, size)
    rig = around(yaws, float(one.parameters.translation[0, 2]))
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


def off(found: list[View], truth: list[View]) -> tuple[float, float, float]:
    """How far cameras are from the true ones, seen from the first: degrees, mm, and their distances' scale."""
    degrees, places, true_places = [], [], []
    for views, kept in ((found, places), (truth, true_places)):
        first = views[0].place
        assert first is not None
        for view in views[1:]:
            assert view.place is not None
            kept.append(first.rotation @ (view.place.centre - first.centre))
    for one, other in zip(found[1:], truth[1:], strict=True):
        turns = []
        for view, first_view in ((one, found[0]), (other, truth[0])):
            assert view.place is not None and first_view.place is not None
            turns.append(view.place.rotation @ first_view.place.rotation.T)
        degrees.append(math.degrees(Rotation.from_matrix(turns[0] @ turns[1].T).magnitude()))
    a, b = np.stack(places), np.stack(true_places)
    return max(degrees), float(np.linalg.norm(a - b, axis=1).max()), float((a * b).sum() / (b * b).sum())
