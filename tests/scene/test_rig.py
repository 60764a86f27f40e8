"""Cameras of a rig, one head and one light for all of them, against OpenCV and SciPy."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from made_shots import made_shot, on_model
from rendered_photo import person, together
from scipy.spatial.transform import Rotation
from simple_scenes import SIZE

from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.terms.landmark_errors import upright_axes
from nextface.fitting.terms.point_motion import image_motion
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models import create as create_model
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import size_of_face
from nextface.scene import Rig
from nextface.scene.geometry import pose_matrix, rotation_matrix, rotation_vector
from nextface.scene.lighting import cosine_kernel, scale_bands, sh_basis, to_light_frame

# From the front, from the side, from behind, and rolled: rig frame to camera frame.
TURNS = ["y", "y", "xyz"], [[0.0], [-50.0], [10.0, 170.0, 90.0]]
KNOWN = (True, False, False)


def some_rig() -> Rig:
    turns = [Rotation.from_euler(axes, angles, degrees=True) for axes, angles in zip(*TURNS, strict=True)]
    centres = np.array([[0.0, 0, 0], [-450, 20, 250], [80, -30, 1300]])
    places = [-turn.apply(centre) for turn, centre in zip(turns, centres, strict=True)]
    rotation = torch.from_numpy(np.stack([turn.as_rotvec() for turn in turns])).reshape(3, 3)
    return Rig(rotation, torch.from_numpy(np.stack(places)).reshape(3, 3), KNOWN)


@pytest.fixture(scope="module")
def seen_by_all() -> Reconstruction:
    """One head and one light of the world, seen by three cameras at the same moment."""
    one = person(create_model("open"), SIZE)
    return replace(
        together([one] * 3),
        rig=some_rig(),
        mounts=(0, 1, 2),
        light_of_world=True,
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_mounted_camera_sees_what_opencv_projects(seen_by_all: Reconstruction, number: int) -> None:
    rig, parameters = some_rig(), seen_by_all.parameters
    head = pose_matrix(parameters.rotation[0].double())
    in_rig = seen_by_all.vertices()[number, ::500].double() @ head.mT + parameters.translation[0]
    camera = seen_by_all.camera(number)
    place = rig.rotation[number].numpy(), rig.translation[number].numpy()
    expected, _ = cv2.projectPoints(in_rig.numpy(), *place, camera.intrinsics[0].numpy().astype(float), None)
    found = camera.project(seen_by_all.vertices()[number : number + 1, ::500])[0]
    np.testing.assert_allclose(found.numpy(), expected[:, 0], atol=2e-3)
    alone = seen_by_all[number]
    assert torch.equal(alone.camera().turn, camera.turn) and alone.mounts == (number,)
    back = rig.in_frame(camera.turn[0].double(), camera.translation[0].double(), number)
    torch.testing.assert_close(back[0], head, atol=1e-6, rtol=0)
    torch.testing.assert_close(back[1], parameters.translation[0].double(), atol=1e-3, rtol=0)


def test_the_first_camera_sees_what_it_sees_without_a_rig(seen_by_all: Reconstruction) -> None:
    alone = replace(seen_by_all[0], rig=None, light_of_world=False)
    torch.testing.assert_close(seen_by_all[0].camera().turn, alone.camera().turn)
    torch.testing.assert_close(seen_by_all[0].light_coefficients(), alone.light_coefficients())


def test_a_light_of_the_world_lights_skin_alike_from_wherever_it_is_seen(seen_by_all: Reconstruction) -> None:
    """A light that is fixed to each camera does not."""
    mesh = seen_by_all.scene(0).mesh

    def irradiance(seen: Reconstruction, number: int) -> torch.Tensor:
        light = scale_bands(seen.light_coefficients().double(), cosine_kernel(seen.bands))[number]
        normals = seen.camera(number).rotate(mesh.normals)[0, ::200].double()
        return sh_basis(to_light_frame(normals), seen.bands) @ light

    first = irradiance(seen_by_all, 0)
    fixed = replace(seen_by_all, light_of_world=False)
    for number in (1, 2):
        torch.testing.assert_close(
            irradiance(seen_by_all, number), first, atol=1e-5 * float(first.max()), rtol=0
        )
        assert float((irradiance(fixed, number) - first).abs().max()) > 0.1 * float(first.max())


def test_slopes_in_a_rig_are_finite_differences(seen_by_all: Reconstruction) -> None:
    """By the head's pose in the rig's frame, and by the focal length, of cameras with any matrix."""
    points = torch.tensor([[10.0, 40, 60], [-30, 5, 70]], dtype=torch.float64)
    plain = replace(seen_by_all[1], rig=None).camera()
    names = ("intrinsics", "rotation", "translation", "orientation")
    plain = replace(plain, **{name: getattr(plain, name).double() for name in names})
    skewed = plain.intrinsics * torch.tensor([[1.0, 1, 1], [1, 1.2, 1], [1, 1, 1]])
    skewed[0, 0, 1] = 2.0

    def seen(step: torch.Tensor) -> torch.Tensor:
        grown = torch.eye(3, dtype=torch.float64)
        grown[:2] *= step[6].exp()
        moved = replace(
            plain,
            intrinsics=torch.cat([skewed[..., :2] @ grown[:2, :2], skewed[..., 2:]], 2),
            rotation=plain.rotation + step[:3],
            translation=plain.translation + step[3:6],
        )
        return some_rig().mounted(moved, 1).project(points[None])[0]

    camera = some_rig().mounted(replace(plain, intrinsics=skewed), 1)
    slopes = image_motion(camera, points, torch.zeros(2, 3, 0, dtype=torch.float64))
    for column in range(7):
        step = 1e-4 * torch.eye(7, dtype=torch.float64)[column]
        expected = (seen(step) - seen(-step)) / 2e-4
        torch.testing.assert_close(slopes[..., column], expected, atol=1e-5, rtol=1e-5)


def test_stage_1_finds_the_pose_in_the_rig(seen_by_all: Reconstruction) -> None:
    """From the camera at the side alone, whose own pose is another."""
    truth = seen_by_all[1]
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    camera, points = truth.camera(), torch.zeros(478, 2)
    seen = camera.project(landmark_points(truth.vertices(), truth.model, embedding))[0]
    if embedding.errors is not None:
        seen = seen + embedding.errors.bias * size_of_face(seen) @ upright_axes(camera)
    points[embedding.indices] = seen
    blank = torch.zeros(SIZE, SIZE, 3)
    focal = float(truth.parameters.focal.exp())
    shot = on_model(made_shot(blank, blank[..., 0] == 0, points, focal), truth.model)
    lost = replace(truth.parameters, rotation=torch.zeros(1, 3), translation=torch.tensor([[0.0, 0, 500]]))
    found = fit_landmarks(truth.with_parameters(lost), [shot], 60, False, lambda cost: None).parameters
    off = rotation_vector(pose_matrix(found.rotation[0]) @ pose_matrix(truth.parameters.rotation[0]).mT)
    assert float(torch.rad2deg(off.norm())) < 3
    middles = [
        each.camera().transform(landmark_points(each.vertices(), each.model, embedding))[0].mean(0)
        for each in (truth, truth.with_parameters(found))
    ]
    assert float((middles[0] - middles[1]).norm()) < 40  # of 650 mm: how large the head is nothing tells


def heads_at(rig: Rig, moments: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A head's rotations [M, C, 3, 3] and translations [M, C, 3] in the cameras, off by degrees and mm."""
    random = np.random.default_rng(1)
    turns, places = [], []
    for _ in range(moments):
        turned = Rotation.from_euler("xyz", random.uniform(-40, 40, 3), degrees=True)
        head = torch.from_numpy(turned.as_matrix())
        place = torch.tensor([0.0, 0, 600]) + torch.from_numpy(random.normal(0, 30, 3))
        for number in range(len(rig)):
            off = Rotation.from_rotvec(np.radians(random.normal(0, noise, 3))).as_matrix()
            turns.append(torch.from_numpy(off) @ rig.turn(number) @ head)
            places.append(
                rig.turn(number) @ place
                + rig.translation[number]
                + torch.from_numpy(random.normal(0, noise, 3))
            )
    return torch.stack(turns).view(moments, -1, 3, 3), torch.stack(places).view(moments, -1, 3)


@pytest.mark.parametrize(("moments", "noise", "degrees", "mm"), [(1, 0.0, 1e-5, 1e-6), (400, 1.0, 0.25, 2.5)])
def test_unknown_places_are_told_by_heads(moments: int, noise: float, degrees: float, mm: float) -> None:
    truth = some_rig()
    lost = torch.tensor([[0.0], [0.4], [0.4]])
    start = replace(truth, rotation=truth.rotation + lost, translation=truth.translation + 100 * lost)
    found = start.with_places_of(*heads_at(truth, moments, noise))
    assert torch.equal(found.rotation[0], truth.rotation[0])  # it is known
    for number in (1, 2):
        off = rotation_vector(found.turn(number) @ truth.turn(number).mT)
        assert float(torch.rad2deg(off.norm())) < degrees
        at = [-rig.turn(number).mT @ rig.translation[number] for rig in (found, truth)]
        assert float((at[0] - at[1]).norm()) < mm
    with pytest.raises(ValueError, match="known place"):
        replace(start, known=(False,) * 3).with_places_of(*heads_at(truth, 1, 0))


def test_derivatives_by_places_and_pose_equal_finite_differences(seen_by_all: Reconstruction) -> None:
    """So unknown places can be fitted through what the cameras see, light included."""
    points = torch.tensor([[[10.0, 40, 60], [-30, 5, 70]]], dtype=torch.float64)
    rig = some_rig()
    plain = replace(seen_by_all[1], rig=None).camera()
    names = ("intrinsics", "rotation", "translation", "orientation")
    double = {name: getattr(plain, name).double() for name in names}

    def seen(rotation: torch.Tensor, translation: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        head = replace(plain, **{**double, "rotation": pose})
        moved = replace(rig, rotation=rotation, translation=translation)
        return torch.cat([moved.mounted(head, 1).project(points).flatten(), moved.light_turn(1).flatten()])

    leaves = [leaf.clone().requires_grad_() for leaf in (rig.rotation, rig.translation, double["rotation"])]
    assert torch.autograd.gradcheck(seen, leaves, atol=1e-4)
    turn = rotation_matrix(leaves[0][1])
    torch.testing.assert_close(rig.turn(1), turn.detach())
