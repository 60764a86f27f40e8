"""What is known of distance and focal length beforehand, and what photos can say against it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_shots import made_shot, on_model
from rendered_photo import person
from torch import Tensor

from nextface.config import Config
from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.statistical import photo_problem
from nextface.fitting.statistical.model_slopes import ModelSlopes, ShapeSlopes, reflectance_slopes
from nextface.fitting.statistical.photo_problem import PhotoProblem
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights
from nextface.fitting.statistical.unknowns import UnknownLayout
from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.portrait_prior import portrait_residuals, portrait_slopes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.face_model import FaceModel
from nextface.models.open_head import load_open_head
from nextface.person.circumstances import cameras_of
from nextface.person.reconstruction import Reconstruction
from nextface.photos.exif import CameraId
from nextface.photos.photo import Photo
from nextface.photos.shot import LensPrior, Shot
from nextface.preparation.prepare import (
    ASSUMED_FOCAL_SPREAD,
    FACE_SIZE,
    KNOWN_FOCAL_SPREAD,
    SAID_FOCAL_SPREAD,
    USUAL_DISTANCE,
    focal_spread,
    lens_prior,
)
from nextface.scene import Camera
from nextface.scene.geometry import focal_pixels, intrinsic_matrix
from renderers.vertex.renderer import VertexRenderer

SIZE = 240  # pixels of the photos
SHAPES = 40


@pytest.fixture(scope="module")
def simple() -> FaceModel:
    """The head with the first of its shapes, which is faster."""
    whole = load_open_head()
    return replace(
        whole, identity_basis=whole.identity_basis[:SHAPES], identity_mirror=whole.identity_mirror[:SHAPES]
    )


def camera_of(log_focal: Tensor) -> Camera:
    """A camera with a focal length [1]."""
    nowhere = torch.zeros(1, 3).double()
    return Camera(intrinsic_matrix(log_focal.exp(), nowhere[:, :2]), nowhere, nowhere, SIZE, SIZE)


def test_nobody_photographs_a_face_from_a_hand_away_and_most_stand_within_three_metres() -> None:
    face_size = 120.0
    lens = lens_prior(300.0, ASSUMED_FOCAL_SPREAD, face_size)

    def sigmas(distance: float) -> float:
        """Of the focal length with which a face is so large from there."""
        focal = torch.tensor([distance * face_size / FACE_SIZE]).double()
        return float(portrait_residuals(camera_of(focal.log()), lens)[1])

    assert sigmas(USUAL_DISTANCE) == pytest.approx(0, abs=1e-9)
    assert sigmas(150) < -3.5
    assert max(abs(sigmas(distance)) for distance in (460, 700, 1500, 3000)) < 2
    assert lens_prior(300.0, KNOWN_FOCAL_SPREAD, face_size).usual is None


@pytest.mark.parametrize("lens", [LensPrior(300.0, 0.5), LensPrior(300.0, 0.5, 500.0)])
def test_residuals_change_as_their_slopes_say(lens: LensPrior) -> None:
    log_focal = torch.tensor([5.5]).double()
    slopes = torch.autograd.functional.jacobian(lambda log: portrait_residuals(camera_of(log), lens), log_focal)
    assert torch.allclose(portrait_slopes(camera_of(log_focal), lens), slopes, rtol=1e-9, atol=1e-15)


def test_stage_2s_equations_have_the_gradient_of_the_prior(
    simple: FaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = person(simple, 48)
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[20:28, 20:28] = True
    shot = made_shot(torch.full((48, 48, 3), 0.4), mask, torch.rand(478, 2) * 48, focal=40.0, spread=0.3)
    shot = replace(shot, lens=replace(shot.lens, usual=90.0))
    layout = UnknownLayout.of(state.parameters, state.sharing, geometry=True)
    slopes = ModelSlopes(
        reflectance_slopes(simple, state.parameters.albedo), ShapeSlopes(simple, state.parameters)
    )
    settings = StatisticalSettings(StatisticalWeights(0, 0, 0, 0, 0), 1, True)
    problem = PhotoProblem(
        WorkingPhoto.of(shot.observation, 10**6),
        on_model(shot, simple).posed(state),
        VertexRenderer(),
        settings,
    )
    image = problem.drawn(state)
    found = []
    for weight in (photo_problem.PORTRAIT_WEIGHT, 0.0):
        monkeypatch.setattr(photo_problem, "PORTRAIT_WEIGHT", weight)
        leaves = {name: getattr(state.parameters, name).clone().requires_grad_() for name in ("focal",)}
        moved = state.with_parameters(replace(state.parameters, **leaves))
        problem.loss(moved, image).backward()
        with torch.no_grad():
            rows = 2 * problem.equations(state, image, slopes, layout).gradient
        by_name = {name: (leaf.grad, rows[layout.place(name)]) for name, leaf in leaves.items()}
        found.append(by_name)
    for name in ("focal",):
        (loss, rows), (plain_loss, plain_rows) = found[0][name], found[1][name]
        expected = (loss - plain_loss).flatten().double()
        assert expected.any()
        assert torch.allclose(rows - plain_rows, expected, rtol=1e-3, atol=1e-6)


def seen_from(model: FaceModel, distance: float) -> Reconstruction:
    """Somebody whose face is 120 pixels wide in a photo of SIZE pixels, from a distance in mm."""
    truth = person(model, SIZE)
    place = torch.tensor([[5.0, -4.0, distance]])
    focal = torch.tensor([math.log(120 / 150 * (distance - 80))])
    return truth.with_parameters(replace(truth.parameters, translation=place, focal=focal))


def landmarks_of(truth: Reconstruction) -> Tensor:
    """Where the model's landmarks are seen, without any error [478, 2]."""
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    points = torch.zeros(478, 2)
    points[embedding.indices] = truth.camera().project(
        landmark_points(truth.vertices(), truth.model, embedding)
    )[0]
    return points


def shot_of(truth: Reconstruction, spread: float) -> Shot:
    """A photo of which nothing but its landmarks is seen, whose focal length is taken for 50 mm."""
    blank = torch.zeros(SIZE, SIZE)
    focal = float(focal_pixels(50.0, SIZE, SIZE))
    plain = made_shot(blank[..., None].expand(-1, -1, 3), blank == 0, landmarks_of(truth), focal, spread)
    return replace(plain, lens=lens_prior(focal, spread, plain.landmarks.face_size))


def fitted_distance(truth: Reconstruction, shot: Shot) -> float:
    """Where stage 1 finds the head of a photo, starting from the mean face, mm."""
    embedding = truth.model.landmarks("mediapipe")
    assert embedding is not None
    parts = ("indices", "triangles", "barycentric", "weights", "contour")
    fewer = replace(
        embedding, **{name: getattr(embedding, name)[::4] for name in parts}, errors=None
    )  # a quarter is faster; these points have no errors in common
    still = {name: torch.zeros_like(getattr(truth.parameters, name)) for name in ("identity", "expression")}
    focal = torch.tensor([math.log(shot.lens.focal)])
    start = truth.with_parameters(replace(truth.parameters, **still, focal=focal))
    found = fit_landmarks(
        start, [replace(on_model(shot, truth.model), embedding=fewer)], 40, True, lambda _: None
    )
    return float(found.parameters.translation[0, 2])


def distances_found(model: FaceModel, average: bool) -> list[float]:
    """Where stage 1 finds a head that is photographed from 0.35, 0.7 and 2 m, in mm."""
    found = []
    for distance in (350.0, 700.0, 2000.0):
        truth = seen_from(model, distance)
        if average:
            none = {
                name: torch.zeros_like(getattr(truth.parameters, name)) for name in ("identity", "expression")
            }
            truth = truth.with_parameters(replace(truth.parameters, **none))
        found.append(fitted_distance(truth, shot_of(truth, ASSUMED_FOCAL_SPREAD)))
    return found


def test_perspective_that_is_seen_still_moves_the_focal_length(simple: FaceModel) -> None:
    """A selfie is found to be one although a longer lens is assumed; farther away the prior leads."""
    near, middle, far = distances_found(simple, average=True)
    assert near < 540 < 580 < min(middle, far)  # other faces explain a part of the perspective
    near, *others = distances_found(simple, average=False)  # a face of its own may look nearer or farther
    assert near < 450 < 600 < min(others)


def test_where_the_photo_tells_the_focal_length_the_distance_follows_it(simple: FaceModel) -> None:
    truth = seen_from(simple, 5000.0)
    shot = shot_of(truth, KNOWN_FOCAL_SPREAD)
    known = replace(shot, lens=LensPrior(float(truth.parameters.focal.exp()), KNOWN_FOCAL_SPREAD))
    assert fitted_distance(truth, known) == pytest.approx(5000, rel=0.08)


def test_how_well_a_focal_length_is_known() -> None:
    photo = Photo(Path("a.jpg"), torch.zeros(4, 4, 3).numpy(), None)
    assert focal_spread(photo, Config()) == ASSUMED_FOCAL_SPREAD
    assert focal_spread(photo, Config(focalLength35mm=85.0)) == SAID_FOCAL_SPREAD
    assert focal_spread(replace(photo, focal_35mm=50.0), Config()) == KNOWN_FOCAL_SPREAD


PHONE = CameraId("Maker", "Phone 5", "", 4.2)


def taken(size: tuple[int, int] = (640, 960), face: float = 200.0, camera: CameraId | None = None) -> Shot:
    """A photo of that size with a face of that size in it, both in pixels."""
    points = torch.tensor([[0.0, 0.0], [face, face]]).repeat(239, 1)
    plain = made_shot(torch.zeros(8, 8, 3), torch.ones(8, 8, dtype=torch.bool), points, spread=0.7)
    return replace(plain, photo_size=size, camera=camera)


@pytest.mark.parametrize(
    ("shots", "same"),
    [
        ([taken(camera=PHONE), taken((900, 400), 90, PHONE)], True),  # cropped, but its EXIF data tell
        ([taken(camera=PHONE), taken(camera=replace(PHONE, focal_length=6.0))], False),
        ([taken(camera=replace(PHONE, focal_length=None))] * 2, False),  # may have been zoomed
        ([taken(), taken(face=220.0)], True),
        ([taken(), taken(face=260.0)], False),
        ([taken(), taken((960, 640))], False),
        ([taken(), taken(camera=PHONE)], False),
        ([taken(), replace(taken(), lens=LensPrior(300.0, KNOWN_FOCAL_SPREAD))], False),
        ([replace(taken(), photo_size=None)] * 2, False),
    ],
)
def test_photos_that_look_like_one_cameras_are_taken_for_it(shots: Sequence[Shot], same: bool) -> None:
    first, second = cameras_of(shots)
    assert (first is not None and first == second) == same
