"""Cameras beside each other: where heads say that they stand, and what files say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_shots import made_shot
from rigged_photos import rigged, true_views
from scipy.spatial.transform import Rotation

from benchmarks.rigs import off
from nextface.cameras.view import Place
from nextface.errors import CameraError, CheckpointError
from nextface.export.cameras import found_views
from nextface.fitting.landmarks.illumination import exposures, guess_lights
from nextface.models import create as create_model
from nextface.person.arrangement import MOMENT, OWN_POSES, beside_each_other, in_places, settled, with_own_poses
from nextface.person.checkpoint import Checkpoint, save_checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.photos.lens import Lens
from nextface.photos.observation import Observation
from nextface.photos.shot import Shot
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import pose_of
from renderers.vertex.renderer import VertexRenderer

SIZE = 64


@pytest.fixture(scope="module")
def truth() -> Reconstruction:
    return rigged(create_model("open"), SIZE, (0.0, 30.0, -40.0))


def shots_of(truth: Reconstruction, turns: int = 0) -> list[Shot]:
    """Shots of the rig's photos, which were turned by right angles before the faces were cropped."""
    quarter = np.array([[0, 1, 0], [-1, 0, SIZE]], float)  # anticlockwise
    to_frame = np.eye(3)
    for _ in range(turns):
        to_frame = np.vstack([quarter, [0, 0, 1]]) @ to_frame
    shots = []
    for view, frame in zip(true_views(truth), truth.frames, strict=True):
        plain = made_shot(torch.zeros(SIZE, SIZE, 3), torch.ones(SIZE, SIZE, dtype=torch.bool))
        turned = Frame(SIZE, SIZE, frame.principal, to_frame[:2])
        shots.append(replace(plain, frame=turned, optics=view.lens, source=Path(view.name)))
    return shots


def alone(truth: Reconstruction) -> Reconstruction:
    """The truth as photos tell it one by one: every pose in its own camera's frame."""
    cameras = [truth.camera(photo) for photo in range(len(truth))]
    start = with_own_poses(truth)
    parameters = replace(
        start.parameters,
        rotation=torch.stack([pose_of(camera.turn[0]) for camera in cameras]),
        translation=torch.cat([camera.translation for camera in cameras]),
    )
    return start.with_parameters(parameters)


def assert_same_cameras(found: Reconstruction, truth: Reconstruction) -> None:
    for photo in range(len(truth)):
        points = truth.vertices()[photo : photo + 1, ::400]
        seen, expected = (one.camera(photo).project(points) for one in (found, truth))
        torch.testing.assert_close(seen, expected, atol=2e-3, rtol=0)


def test_heads_tell_where_unknown_cameras_stand(truth: Reconstruction) -> None:
    found = settled(alone(truth))
    assert_same_cameras(found, truth)
    assert torch.equal(found.parameters.rotation[1], found.parameters.rotation[0])
    degrees, _, mm, _ = off(found_views(found, shots_of(truth)), true_views(truth))
    assert degrees < 1e-3 and mm < 0.02


@pytest.mark.parametrize("unit", [1.0, None])
def test_files_tell_places_and_heads_their_unit(truth: Reconstruction, unit: float | None) -> None:
    factor = 1.0 if unit else 0.01
    places = [replace(view.place, translation=view.place.translation * factor) for view in true_views(truth)]
    arrangement = beside_each_other(shots_of(truth), places, unit, own_light=False)
    assert arrangement.measured and arrangement.table == MOMENT
    found, said = in_places(alone(truth), arrangement)
    assert found.parameters.rotation.shape == (1, 3) and found.rig is not None
    assert found.rig.metric == bool(unit)
    assert ("1.000 times" if unit else "is 100 mm") in said
    assert_same_cameras(found, truth)


def test_a_world_that_is_turned_and_moved_changes_nothing(truth: Reconstruction) -> None:
    turn, shift = (
        Rotation.from_euler("xyz", [20, 100, -50], degrees=True).as_matrix(),
        np.array([900.0, 50, -3]),
    )
    places = [
        Place(view.place.rotation @ turn, view.place.translation + view.place.rotation @ shift)
        for view in true_views(truth)
    ]
    found, _ = in_places(alone(truth), beside_each_other(shots_of(truth), places, 1.0, own_light=False))
    assert_same_cameras(found, truth)


def test_photos_that_were_turned_have_turned_cameras_and_come_back(truth: Reconstruction) -> None:
    """By one right angle: the crops' cameras are rolled, and cameras of the photos are told as they stand."""
    shots = shots_of(truth, turns=1)
    places = [view.place for view in true_views(truth)]
    rolled = beside_each_other(shots, places, 1.0, own_light=False)
    heads = [truth.camera(photo).turn[0] for photo in range(len(truth))]
    rolls = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    start = alone(truth)
    shifts = torch.cat([truth.camera(photo).translation @ rolls.T for photo in range(len(truth))])
    turned = replace(
        start.parameters, rotation=torch.stack([pose_of(rolls @ head) for head in heads]), translation=shifts
    )
    frames = tuple(shot.frame for shot in shots)
    found, _ = in_places(replace(start, parameters=turned, frames=frames), rolled)
    views = found_views(found, shots)
    degrees, _, mm, _ = off(views, true_views(truth))
    assert degrees < 1e-3 and mm < 0.02
    for view, true in zip(views, true_views(truth), strict=True):
        np.testing.assert_allclose(view.lens.matrix, true.lens.matrix, atol=1e-3)


def test_places_that_heads_contradict_are_refused(truth: Reconstruction) -> None:
    places = [view.place for view in true_views(truth)]
    exchanged = beside_each_other(shots_of(truth), [places[0], places[2], places[1]], 1.0, own_light=False)
    with pytest.raises(CameraError, match=r"do not belong to these photos.*aside"):
        in_places(alone(truth), exchanged)
    in_m = [replace(place, translation=place.translation / 1000) for place in places]
    with pytest.raises(CameraError, match=r"unit.* 1000 times"):
        in_places(alone(truth), beside_each_other(shots_of(truth), in_m, 1.0, own_light=False))
    in_cm = beside_each_other(shots_of(truth), places, 10.0, own_light=False)
    with pytest.raises(CameraError, match=r"unit.*0\.1 times"):
        in_places(alone(truth), in_cm)
    nearly_one = [places[0], Place(np.eye(3), np.array([4.0, 0, 0]))]
    same = with_own_poses(rigged(truth.model, SIZE, (0.0, 0.0)))
    with pytest.raises(CameraError, match="so near to each other"):
        in_places(same, beside_each_other(shots_of(truth)[:2], nearly_one, None, own_light=False))


def test_a_missing_place_makes_all_unknown(truth: Reconstruction) -> None:
    places = [view.place for view in true_views(truth)]
    found = beside_each_other(shots_of(truth), [*places[:2], None], None, own_light=True)
    assert found.table == {**OWN_POSES, "light": "photo"} and not found.light_of_world
    assert not found.measured and found.rig is not None and found.rig.known == (True, False, False)


def test_checkpoints_keep_where_cameras_stand(truth: Reconstruction, tmp_path: Path) -> None:
    save_checkpoint(truth, tmp_path / "c.npz", 2)
    loaded = Checkpoint.load(tmp_path / "c.npz", truth.model)
    nowhere = with_own_poses(truth).rig
    start = replace(truth, rig=replace(nowhere, known=truth.rig.known))
    assert_same_cameras(loaded.resumed(start, 256)[0], truth)
    for other in (replace(truth, rig=None, mounts=()), replace(truth, rig=nowhere)):
        with pytest.raises(CheckpointError, match="Start without it"):
            loaded.resumed(other, 256)


def test_a_lens_turned_with_its_photo_sees_the_same() -> None:
    lens = Lens(640, 480, np.array([[500, 2.0, 310], [0, 505, 235], [0, 0, 1]]))
    quarter = np.array([[0, 1, 0], [-1, 0, 640.0]])
    matrix, turn = lens.in_crop(quarter)
    points = np.array([[0.1, 0.2, 1.0], [-0.3, 0.1, 1.2]])
    pixels, turned = points @ lens.matrix.T, points @ turn.T @ matrix.T
    expected = pixels[:, :2] / pixels[:, 2:] @ quarter[:, :2].T + quarter[:, 2]
    np.testing.assert_allclose(turned[:, :2] / turned[:, 2:], expected, atol=1e-9)
    assert matrix[1, 0] == 0 and math.isclose(np.linalg.det(turn), 1)


def test_photos_of_one_light_that_are_exposed_differently_are_told_apart() -> None:
    """The second of two is half as bright as the light makes it."""
    truth = rigged(create_model("open"), SIZE, (-20.0, 20.0))
    observations = []
    for photo, exposure in enumerate((1.0, 0.5)):
        with torch.no_grad():
            image = VertexRenderer().render(truth.scene(photo), 1, 0)[0]
        encoded = linear_to_srgb((exposure * image[..., :3]).clamp(0, 1))
        mask = image[..., 3] > 0.99
        observations.append(Observation(encoded, mask, torch.zeros_like(mask)))
    bright = exposures(guess_lights(truth, observations), observations)
    assert math.isclose(bright[1] / bright[0], 0.5, rel_tol=0.2), bright
