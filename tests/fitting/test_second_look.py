"""Landmarks by comparison, on pictures of heads of which everything is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_shots import made_shot, on_model
from rendered_photo import person
from torch import Tensor

from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.landmarks.second_look import compared_landmarks
from nextface.fitting.statistical import gauss_newton
from nextface.fitting.statistical.terms import StatisticalSettings, StatisticalWeights
from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.fitting.terms.watcher import Watcher
from nextface.landmarks.detection.faces import Detectors
from nextface.landmarks.detection.several_looks import averaged
from nextface.landmarks.embedding.views import picture_of
from nextface.models import create as create_model
from nextface.person.reconstruction import Reconstruction
from nextface.scene.raster import rasterize_scene
from renderers.vertex.renderer import VertexRenderer

SIZE = 192


@pytest.fixture(scope="module")
def truth() -> Reconstruction:
    return person(create_model("open"), SIZE)


@pytest.fixture(scope="module")
def detectors() -> Iterator[Detectors]:
    with closing(Detectors()) as started:
        yield started


@pytest.fixture(scope="module")
def shot(truth: Reconstruction, detectors: Detectors) -> ShotOnModel:
    """A photo of the truth, with what the detector sees in it."""
    picture = picture_of(VertexRenderer().render(truth.scene(), 1, 0)[0])
    detector, _ = detectors.get("mediapipe")
    found = averaged(detector, picture, detector.detect(picture)[0])
    assert found is not None
    points = torch.from_numpy(found.points).float()
    photo, everywhere = torch.from_numpy(picture) / 255, torch.ones(SIZE, SIZE, dtype=torch.bool)
    shot = made_shot(photo, everywhere, points, float(truth.parameters.focal.exp()), 0.01)
    return on_model(shot, truth.model)


@pytest.fixture(scope="module")
def wrong(truth: Reconstruction) -> Reconstruction:
    """The truth with other eyes, mouth and pose, and another colour of skin."""
    parameters = truth.parameters
    expression = parameters.expression.clone()
    for name, value in (("eyeLookOutLeft", 0.4), ("eyeLookInRight", 0.4), ("mouthSmileLeft", 0.0)):
        expression[0, truth.model.expression_names.index(name)] = value
    return truth.with_parameters(
        replace(
            parameters,
            expression=expression,
            rotation=parameters.rotation + 0.02,
            albedo=-0.5 * parameters.albedo,
        )
    )


def projected(state: Reconstruction, shot: ShotOnModel) -> Tensor:
    return state.camera().project(shot.points(state.vertices()))[0]


def test_comparison_is_nearer_to_the_truth_than_detection(
    truth: Reconstruction, wrong: Reconstruction, shot: ShotOnModel, detectors: Detectors
) -> None:
    """The detector's bias, which is the same in both pictures, is left out of the landmarks' targets."""
    (compared,) = compared_landmarks(wrong, [shot], VertexRenderer(), detectors, 0)
    there = projected(truth, shot)
    by_comparison, by_detection = (float((one.targets - there).norm(dim=1).mean()) for one in (compared, shot))
    assert by_comparison < 0.4 * by_detection
    assert by_comparison < 0.25 * float((projected(wrong, shot) - there).norm(dim=1).mean())


def test_landmarks_fitted_to_a_comparison_are_where_the_truth_is(
    truth: Reconstruction, wrong: Reconstruction, shot: ShotOnModel, detectors: Detectors
) -> None:
    """Expression and pose return."""
    compared = compared_landmarks(wrong, [shot], VertexRenderer(), detectors, 0)
    found = fit_landmarks(wrong, compared, 20, True, lambda _: None)
    there = projected(truth, shot)
    before, after = (float((projected(state, shot) - there).norm(dim=1).mean()) for state in (wrong, found))
    assert after < 0.3 * before
    gaze = truth.model.expression_names.index("eyeLookOutLeft")
    assert float(found.parameters.expression[0, gaze]) < 0.25


def test_stage_2_comes_nearer_to_the_truth_with_a_second_look(
    truth: Reconstruction,
    wrong: Reconstruction,
    shot: ShotOnModel,
    detectors: Detectors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked for once, when the skin has its colour."""
    for name, value in {"WORKING_PIXELS": (200, 600), "ENOUGH": 0.3, "ENOUGH_OF_COLOUR": 0.1}.items():
        monkeypatch.setattr(gauss_newton, name, value)  # for speed
    mask = rasterize_scene(truth.scene()).triangle >= 0
    shot = replace(shot, shot=replace(shot.shot, observation=replace(shot.shot.observation, mask=mask)))
    settings = StatisticalSettings(StatisticalWeights(5.0, 1.5, 12.0, 0.2, 0.2), 60, optimize_focal=True)
    asked = []

    def second_look(state: Reconstruction) -> list[ShotOnModel]:
        asked.append(state)
        return compared_landmarks(state, [shot], VertexRenderer(), detectors, 0)

    there = projected(truth, shot)
    away = [
        float((projected(found, shot) - there).norm(dim=1).mean())
        for found in (
            gauss_newton.fit_by_gauss_newton(wrong, [shot], VertexRenderer(), settings, Watcher(), chosen)
            for chosen in (None, second_look)
        )
    ]
    assert len(asked) == 1
    off = [float((state.parameters.albedo - truth.parameters.albedo).norm()) for state in (wrong, asked[0])]
    assert off[1] < off[0]
    assert away[1] < 0.7 * away[0]


def test_what_is_not_compared(wrong: Reconstruction, shot: ShotOnModel, detectors: Detectors) -> None:
    """Points from a file are what the user wants; in a photo without a face there is nothing to compare."""
    given = replace(shot, shot=replace(shot.shot, landmarks=replace(shot.landmarks, given=True)))
    assert compared_landmarks(wrong, [given], VertexRenderer(), detectors, 0)[0] is given
    grey = replace(shot.shot.observation, srgb=torch.full((SIZE, SIZE, 3), 0.5))
    nobody = replace(shot, shot=replace(shot.shot, observation=grey))
    (found,) = compared_landmarks(wrong, [nobody], VertexRenderer(), detectors, 0)
    assert found.compared is None
    assert np.array_equal(found.targets.numpy(), shot.targets.numpy())
