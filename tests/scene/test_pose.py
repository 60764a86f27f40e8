"""The head's pose is its turn away from facing the camera, everywhere: against OpenCV, SciPy and old files."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rendered_photo import person
from scipy.spatial.transform import Rotation
from simple_scenes import SIZE, camera

from nextface.export.folder import scene_description
from nextface.fitting.landmarks.coarse import initial_pose
from nextface.fitting.terms.point_motion import image_motion
from nextface.models import create as create_model
from nextface.models.open_head import load_open_head
from nextface.person.checkpoint import CHECKPOINT_VERSION, Checkpoint, save_checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene import Camera
from nextface.scene.geometry import facing, pose_matrix, pose_of, rotation_vector

# Written by the program of that time.
VERSION_2 = Path(__file__).parents[1] / "data" / "checkpoint_version_2.npz"
INTRINSICS = np.array([[700.0, 0, 160], [0, 700, 120], [0, 0, 1]])


def head_camera(pose: torch.Tensor) -> Camera:
    return replace(camera(), rotation=pose[None], orientation=facing(pose)[None])


def test_a_frontal_head_is_at_the_origin_and_poses_are_small_around_it() -> None:
    torch.testing.assert_close(pose_matrix(torch.zeros(3)), torch.diag(torch.tensor([1.0, -1, -1])))
    nods = [Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_euler("x", a, degrees=True) for a in (-3, 3)]
    up, down = (pose_of(torch.from_numpy(nod.as_matrix())) for nod in nods)
    torch.testing.assert_close(up, -down, atol=1e-9, rtol=0)
    assert float((up - down).norm()) == pytest.approx(np.radians(6))  # as axis-angle of the whole turn: 2 pi


@pytest.mark.parametrize(
    ("pose", "point", "moves"),
    [
        ((0.2, 0.0, 0.0), (0.0, 0.0, 100.0), (0, 1)),  # a nod: the nose goes down, and pixels count down
        ((0.0, 0.2, 0.0), (0.0, 0.0, 100.0), (1, 0)),  # it turns to the picture's right
        ((0.0, 0.0, 0.2), (0.0, 100.0, 0.0), (-1, 0)),  # the crown tilts to the picture's left
    ],
)
def test_signs(pose: tuple[float, ...], point: tuple[float, ...], moves: tuple[int, int]) -> None:
    where = torch.tensor([[point]])
    before, after = (head_camera(turn).project(where)[0, 0] for turn in (torch.zeros(3), torch.tensor(pose)))
    across, down = (after - before).tolist()
    axis = 0 if moves[0] else 1
    assert np.sign((across, down)[axis]) == moves[axis]
    assert abs((across, down)[axis]) > 3 * abs((across, down)[1 - axis])


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.4, 2.0, 3.1])
def test_poses_come_back_from_their_matrices(angle: float) -> None:
    pose = torch.tensor([[0.48, -0.6, 0.64]], dtype=torch.float64) * angle
    torch.testing.assert_close(pose_of(pose_matrix(pose)), pose, atol=1e-9, rtol=0)


def test_slopes_at_the_frontal_head_are_finite_differences() -> None:
    points = 50 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = camera()
    doubled = replace(
        start, intrinsics=start.intrinsics.double(), translation=start.translation.double(), orientation=None
    )

    def seen(pose: torch.Tensor) -> torch.Tensor:
        return replace(doubled, rotation=pose[None], orientation=facing(pose)[None]).project(points[None])[0]

    origin = torch.zeros(3, dtype=torch.float64)
    at_origin = replace(doubled, rotation=origin[None], orientation=facing(origin)[None])
    slopes = image_motion(at_origin, points, torch.zeros(6, 3, 0, dtype=torch.float64))
    for axis in range(3):
        step = 1e-4 * torch.eye(3, dtype=torch.float64)[axis]
        expected = (seen(step) - seen(-step)) / 2e-4
        torch.testing.assert_close(slopes[..., axis], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pitch", [-3.0, 0.0, 3.0])
def test_the_first_pose_is_the_true_one_without_a_jump(pitch: float) -> None:
    points = np.random.default_rng(2).normal(size=(20, 3)) * 60
    truth = Rotation.from_euler("xy", [pitch, 8.0], degrees=True)
    turn = Rotation.from_rotvec([np.pi, 0, 0]) * truth
    seen = cv2.projectPoints(points, turn.as_rotvec(), np.array([10.0, -5, 600]), INTRINSICS, None)[0][:, 0]
    pose, translation = initial_pose(*(torch.from_numpy(x) for x in (points, seen, INTRINSICS)))
    np.testing.assert_allclose(pose, truth.as_rotvec(), atol=1e-4)
    np.testing.assert_allclose(translation, [10, -5, 600], atol=0.1)


def test_the_scene_file_tells_the_whole_turn() -> None:
    """OpenCV draws with it what the camera draws."""
    truth = person(create_model("open"), SIZE)
    told = scene_description(truth, {})
    vertices = truth.vertices()[0, ::500].double()
    expected = truth.camera().project(truth.vertices())[0, ::500]
    drawn, _ = cv2.projectPoints(
        vertices.numpy(), *(np.array(told[key]) for key in ("rotation", "translation", "K")), None
    )
    np.testing.assert_allclose(drawn[:, 0], expected.numpy(), atol=1e-3)
    torch.testing.assert_close(
        rotation_vector(truth.camera().turn[0]), torch.tensor(told["rotation"]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints_of_older_versions_show_the_head_as_they_did(version: int, tmp_path: Path) -> None:
    head = load_open_head()
    old = dict(np.load(VERSION_2))
    shapes = old["identity"].shape[1]  # the head had fewer when the file was made
    model = replace(
        head, identity_basis=head.identity_basis[:shapes], identity_mirror=head.identity_mirror[:shapes]
    )
    assert old["version"] == 2
    path = VERSION_2
    if version == 1:
        path = tmp_path / "version1.npz"
        single = {"version": 1, "photoToImage": old["photoToImage"][0], "width": old["width"][0]}
        np.savez(path, **{**old, **single, "height": old["height"][0]})
    loaded = Checkpoint.load(path, model)
    frame = Frame(
        int(old["width"][0]), int(old["height"][0]), torch.from_numpy(old["principal"]), old["photoToImage"][0]
    )
    start = Reconstruction(model, loaded.parameters, (frame,), int(old["bands"]), 64)
    resumed, notes = loaded.resumed(start, 256)
    assert not notes
    vertices = resumed.vertices()[0, ::500]
    intrinsics = resumed.camera().intrinsics[0].numpy().astype(float)
    expected, _ = cv2.projectPoints(
        vertices.numpy().astype(float), old["rotation"][0], old["translation"][0], intrinsics, None
    )
    seen = resumed.camera().project(vertices[None])[0]
    np.testing.assert_allclose(seen.numpy(), expected[:, 0], atol=2e-3)
    assert float(loaded.parameters.rotation.norm()) < 0.5  # the portrait nearly faces the camera

    save_checkpoint(resumed, tmp_path / "new.npz", 1)
    assert int(np.load(tmp_path / "new.npz")["version"]) == CHECKPOINT_VERSION
    again = Checkpoint.load(tmp_path / "new.npz", model)
    assert torch.equal(again.parameters.rotation, loaded.parameters.rotation)
