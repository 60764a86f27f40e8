"""Landmark errors: what many faces have in common, and offsets freed from it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from made_shots import made_shot
from rendered_photo import person, rigid_distance
from torch import Tensor

from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.terms.landmark_errors import INDEPENDENT_LANDMARKS, POINT_ERROR, LandmarkWhitening
from nextface.fitting.terms.shot_on_model import ShotOnModel, landmark_points
from nextface.landmarks.errors import common_errors, mirrored
from nextface.models import create as create_model
from nextface.models.face_model import LandmarkErrors
from nextface.photos.shot import size_of_face
from nextface.scene import Camera

POINTS, MODES = 30, 4


def some_errors(seed: int, points: int = POINTS) -> LandmarkErrors:
    """Errors of a few per cent that points have in common, and smaller ones of their own."""
    generator = torch.Generator().manual_seed(seed)
    modes = 0.02 * torch.randn(points, 2, MODES, generator=generator)
    spread = 0.003 + 0.004 * torch.rand(points, generator=generator)
    return LandmarkErrors(0.01 * torch.randn(points, 2, generator=generator), modes, spread)


def drawn(errors: LandmarkErrors, faces: int, seed: int) -> Tensor:
    """Offsets [N, L, 2] of faces with these errors."""
    generator = torch.Generator().manual_seed(seed)
    common = errors.modes @ torch.randn(faces, 1, MODES, 1, generator=generator)
    own = errors.spread[:, None] * torch.randn(faces, len(errors.spread), 2, generator=generator)
    return errors.bias + common[..., 0] + own


def covariance(errors: LandmarkErrors) -> Tensor:
    modes = errors.modes.flatten(0, 1).double()
    return modes @ modes.T + errors.spread.double().square().repeat_interleave(2).diag()


def test_what_faces_have_in_common_is_found_again() -> None:
    errors = some_errors(0)
    found = common_errors(drawn(errors, 6000, 1), MODES)
    assert torch.allclose(found.bias, errors.bias, atol=2e-3)
    assert torch.allclose(found.spread, errors.spread, rtol=0.15)
    off = (covariance(found) - covariance(errors)).norm() / covariance(errors).norm()
    assert float(off) < 0.06


def test_mirrored_faces_err_at_the_mirrored_points() -> None:
    offsets = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    there = mirrored(offsets, torch.tensor([1, 0, 2]))
    assert there.tolist() == [[[-3.0, 4.0], [-1.0, 2.0], [-5.0, 6.0]]]


def turned_camera(roll: float) -> Camera:
    """A camera that sees a frontal head turned clockwise in the picture, by an angle in radians."""
    upside_down = torch.tensor([[math.pi * math.cos(roll / 2), math.pi * math.sin(roll / 2), 0.0]])
    return Camera(torch.eye(3)[None], upside_down, torch.tensor([[0.0, 0.0, 600.0]]), 200, 200)


@pytest.mark.parametrize("roll", [0.0, 0.4, math.pi])
def test_whitened_offsets_have_the_squares_of_the_inverse_covariance(roll: float) -> None:
    errors, size = some_errors(2), 150.0
    trust = torch.linspace(0.2, 1, POINTS)
    whitening = LandmarkWhitening.of(trust, errors, turned_camera(roll), size)
    own = POINT_ERROR**2 / trust * max(float(trust.sum()) / INDEPENDENT_LANDMARKS, 1)
    precision = torch.linalg.inv(covariance(errors) + own.double().repeat_interleave(2).diag()) / size**2
    offsets = 4 * torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(3))
    cosine, sine = math.cos(roll), math.sin(roll)
    back = torch.tensor([[cosine, sine], [-sine, cosine]])
    upright = (offsets @ back.T + errors.bias * size).flatten().double()
    expected = float(upright @ precision @ upright)
    assert float(whitening.residuals(offsets).square().sum()) == pytest.approx(expected, rel=1e-3)
    motion = torch.randn(POINTS, 2, 5, generator=torch.Generator().manual_seed(4))
    step = torch.randn(5, generator=torch.Generator().manual_seed(5))
    change = whitening.residuals(offsets + motion @ step) - whitening.residuals(offsets)
    assert torch.allclose(whitening.slopes(motion) @ step, change, atol=1e-3)


def test_points_that_are_not_trusted_say_nothing() -> None:
    trust = torch.ones(POINTS)
    trust[7] = 0
    whitening = LandmarkWhitening.of(trust, some_errors(2), turned_camera(0), 150.0)
    offsets = torch.zeros(POINTS, 2)
    elsewhere = offsets.clone()
    elsewhere[7] = 50.0
    assert torch.equal(whitening.residuals(offsets), whitening.residuals(elsewhere))
    assert torch.isfinite(whitening.term(elsewhere))
    before, after = (
        whitening.rows(offsets, torch.ones(POINTS, 2, 3)),
        whitening.rows(elsewhere, torch.ones(POINTS, 2, 3)),
    )
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("errors", [None, some_errors(2)])
def test_the_size_of_the_photo_does_not_matter(errors: LandmarkErrors | None) -> None:
    offsets = 0.02 * torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(8))
    trust = torch.linspace(0, 1, POINTS)
    terms = [
        LandmarkWhitening.of(trust, errors, turned_camera(0.1), size).term(offsets * size)
        for size in (50.0, 400.0)
    ]
    torch.testing.assert_close(*terms)
    assert float(terms[0]) > 0


def test_errors_that_were_not_measured_are_taken_for_independent_ones() -> None:
    """Then stage 2's term is a mean of squares in hundredths of the face's size, as long as they are small."""
    offsets = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(9))
    trust = torch.linspace(0, 1, POINTS)
    whitening = LandmarkWhitening.of(trust, None, turned_camera(0.7), 150.0)
    scale = trust.sqrt() / (POINT_ERROR * 150.0)
    assert torch.allclose(whitening.residuals(offsets).norm(dim=1), scale * offsets.norm(dim=1), rtol=1e-4)
    small = 0.05 * offsets
    squares = (small / 1.5).square().sum(1)
    assert float(whitening.term(small)) == pytest.approx(float((trust * squares).sum() / trust.sum()), rel=1e-2)


def test_stage_1_is_nearer_to_the_truth_if_it_knows_how_landmarks_err() -> None:
    """The same errors, once expected and once taken for independent ones."""
    model = create_model("open")
    whole = model.landmarks("mediapipe")
    assert whole is not None
    some = torch.arange(0, len(whole.indices), 6)
    parts = ("indices", "triangles", "barycentric", "weights", "contour")
    plain = replace(whole, **{name: getattr(whole, name)[some] for name in parts}, errors=None)
    places = landmark_points(model.mean[None], model, plain)[0]
    errors = some_errors(6, len(some))
    errors = replace(errors, modes=over_regions(errors.modes, places))
    face = model.regions["face"] & model.regions["skin"]
    still = torch.zeros(1, len(model.expression_names))
    distances = []
    for number, offset in enumerate(drawn(errors, 3, 7)):
        truth = person(model, 256, shape_seed=number, turned=(0, 0))
        true = truth.camera().project(landmark_points(truth.vertices(), model, whole))[0]
        true[some] += offset * size_of_face(true)
        blank = torch.zeros(256, 256)
        focal = float(truth.parameters.focal.exp())
        photo = blank[..., None].expand(-1, -1, 3)
        shot = made_shot(photo, blank == 0, true, focal, 0.01)
        nobody = replace(truth.parameters, identity=torch.zeros(1, model.identity_size), expression=still)
        for embedding in (plain, replace(plain, errors=errors)):
            start = truth.with_parameters(nobody)
            fitted = fit_landmarks(start, [ShotOnModel(shot, model, embedding)], 30, True, lambda _: None)
            shapes = [model.vertices(one.parameters.identity, still)[0, face] for one in (fitted, truth)]
            distances.append(rigid_distance(*shapes))
    independent, common = torch.tensor(distances).view(-1, 2).mean(0)
    assert common < 0.8 * independent


def over_regions(modes: Tensor, places: Tensor) -> Tensor:
    """Modes [L, 2, M] as whole regions of a face with points at places [L, 3] have them, as large as before."""
    near = (-torch.cdist(places, places).square() / (2 * 25.0**2)).exp()
    return ((near / near.norm(dim=1, keepdim=True)) @ modes.flatten(1)).view(modes.shape)
