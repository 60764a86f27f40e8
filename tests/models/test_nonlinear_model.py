"""A model with a joint, spreads and bounds of every size, asymmetric UVs in two charts and no mirror."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, TINY
from made_shots import made_shot, on_model
from puppet import JAW, Puppet, make_puppet

from nextface import Config, reconstruct
from nextface.fitting.landmarks.coarse import fit_landmarks
from nextface.fitting.landmarks.surface import LandmarkSurface
from nextface.fitting.statistical.model_slopes import ShapeSlopes
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.joints import skinned
from nextface.person.checkpoint import Checkpoint
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.photos.shot import size_of_face

FRAME = 256  # pixels
OPEN = 0.4  # radians


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return make_puppet()


def test_joints_turn_what_follows_them() -> None:
    """An arm of two links along x, and a point that follows the first link by half."""
    points = torch.tensor([[[1.0, 0, 0], [3.0, 0, 0], [1.0, 0, 0]]])
    joints = torch.tensor([[[0.0, 0, 0], [2.0, 0, 0]]])
    weights = torch.tensor([[1.0, 0], [0, 1], [0.5, 0]])
    quarter = torch.tensor([0.0, 0, math.pi / 2])
    angles = torch.stack([quarter, -quarter])[None]
    moved = skinned(points, joints, [-1, 0], weights, angles)
    assert torch.allclose(moved, torch.tensor([[[0.0, 1, 0], [1.0, 2, 0], [0.5, 0.5, 0]]]), atol=1e-6)
    assert torch.allclose(skinned(points, joints, [-1, 0], weights, 0 * angles), points)
    with pytest.raises(ValueError, match="joint 0"):
        skinned(points, joints, [1, -1], weights, angles)


def test_slopes_are_those_of_autograd(puppet: Puppet) -> None:
    here = state(puppet, OPEN)
    slopes = ShapeSlopes(puppet, here.parameters).around(here.parameters)
    identity = here.parameters.identity.clone().requires_grad_()
    expression = here.parameters.expression.clone().requires_grad_()
    vertices = puppet.vertices(identity, expression)[0]
    chin = int(vertices[:, 1].masked_fill(vertices[:, 2] < 50, math.inf).argmin())
    for vertex, axis in ((chin, 0), (chin, 1), (chin, 2), (500, 1)):
        by = torch.autograd.grad(vertices[vertex, axis], (identity, expression), retain_graph=True)
        true = torch.cat(by, 1)[0]
        assert torch.allclose(slopes[vertex, axis], true, rtol=2e-3, atol=2e-2)
    shut = state(puppet, 0.0).parameters
    there = ShapeSlopes(puppet, here.parameters).around(shut)[chin, :, JAW]
    assert (there - slopes[chin, :, JAW]).norm() > 0.2 * there.norm(), "the jaw's arc is curved"


def test_landmarks_are_linearised_where_they_are(puppet: Puppet) -> None:
    here = state(puppet, OPEN).parameters
    identity, expression = here.identity[0], here.expression[0]
    surface = LandmarkSurface.around(puppet, puppet.embedding, identity, expression)
    true = landmark_points(puppet.vertices(identity[None], expression[None]), puppet, puppet.embedding)[0]
    assert torch.allclose(surface.points(identity.double(), expression.double()).float(), true, atol=1e-3)


def test_stage_1_finds_how_far_the_jaw_is_open(puppet: Puppet) -> None:
    truth = state(puppet, OPEN)
    observed = truth.camera().project(landmark_points(truth.vertices(), puppet, puppet.embedding))[0]
    points = torch.zeros(int(puppet.embedding.indices.max()) + 1, 2).index_copy(
        0, puppet.embedding.indices, observed
    )
    blank = torch.zeros(FRAME, FRAME)
    focal = float(truth.parameters.focal.exp())
    seen = made_shot(blank[..., None].expand(-1, -1, 3), blank == 0, points, focal, 0.01)
    rest = replace(
        truth.parameters,
        identity=torch.zeros_like(truth.parameters.identity),
        expression=puppet.expression_prior.mean[None],
    )
    start = truth.with_parameters(rest)
    fitted = fit_landmarks(start, [on_model(seen, puppet)], 60, False, lambda _: None)
    assert abs(float(fitted.parameters.expression[0, JAW]) - OPEN) < 0.06
    found = fitted.camera().project(landmark_points(fitted.vertices(), puppet, puppet.embedding))[0]
    assert (found - observed).norm(dim=1).median() < 0.003 * size_of_face(observed)


def test_it_runs_all_three_stages(puppet: Puppet, tmp_path: Path) -> None:
    config = Config(renderer="vertex", threads=1, **TINY | {"iterStep2": 30})  # type: ignore[arg-type]
    result = reconstruct(PORTRAIT, tmp_path, config, model=puppet)
    assert result.folder is not None
    prior, expression = puppet.expression_prior, result.parameters.expression
    assert result.parameters.is_finite()
    assert (expression >= prior.low).all() and (expression <= prior.high).all()
    coarse = Checkpoint.load(result.folder / "checkpoints" / "stage1.npz", puppet).parameters
    assert not torch.equal(coarse.expression[0, JAW:], expression[0, JAW:]), "stage 2 turns the jaw, too"
    assert result.metrics["psnr"] > 15
    assert result.material is not None and result.material.diffuse.shape == (1, 256, 256, 3)
    assert result.confidence is not None
    assert result.confidence[..., 1].max() == 0, "without a mirror map nothing comes from the other side"
    assert (result.folder / "diffuseMap_0.png").is_file()


def state(puppet: Puppet, opening: float) -> Reconstruction:
    """Somebody with a jaw opened by an angle, seen from the front."""
    generator = torch.Generator().manual_seed(3)
    expression = puppet.expression_prior.mean.clone()
    expression[JAW] = opening
    parameters = Parameters(
        0.4 * torch.randn(1, puppet.identity_size, generator=generator),
        expression[None],
        torch.zeros(1, 0),
        torch.tensor([[0.0, 0.1, 0.05]]),
        torch.tensor([[0.0, 0, 600]]),
        torch.tensor([math.log(500.0)]),
        torch.zeros(1, LIGHT_LOBES, 3),
    )
    frame = Frame(FRAME, FRAME, torch.full((1, 2), FRAME / 2), np.eye(2, 3))
    return Reconstruction(puppet, parameters, (frame,), 9, 32)
