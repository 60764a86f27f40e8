"""How sure stage 2 is of the shape, against closed forms and against what errors there are."""

from __future__ import annotations

import pytest
import torch
from rendered_photo import person, together
from scipy.spatial.transform import Rotation
from torch import Tensor

from nextface.fitting.statistical.normal_equations import NormalEquations
from nextface.fitting.statistical.posterior import (
    identity_precision,
    similarity_motions,
    vertex_deviation,
)
from nextface.fitting.statistical.unknowns import UnknownLayout
from nextface.models import create as create_model
from nextface.models.face_model import FaceModel


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return create_model("open")


def test_the_identitys_precision_is_the_inverse_of_its_block_of_the_dense_covariance(model: FaceModel) -> None:
    """Two photos of one person, each with unknowns of its own, all in one dense matrix."""
    state = together([person(model, 32)] * 2)
    layout = UnknownLayout.of(state.parameters, state.sharing, geometry=True)
    generator = torch.Generator().manual_seed(1)
    place, unknowns = layout.place("identity"), layout.unknowns
    shared = layout.groups(0)["person", 0]
    own = unknowns - shared
    dense = torch.zeros(shared + 2 * own, shared + 2 * own).double()
    photos = []
    for photo in range(2):
        rows = torch.randn(2 * unknowns, unknowns, generator=generator, dtype=torch.float64)
        equations = NormalEquations.zeros(unknowns)
        equations.add(rows, torch.zeros(len(rows)))
        photos.append(equations)
        first = shared + photo * own
        where = torch.cat([torch.arange(shared), torch.arange(first, first + own)])
        dense[where[:, None], where] += rows.T @ rows
    expected = torch.linalg.inv(dense)[place, place]
    found = torch.linalg.inv(identity_precision(photos, layout))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_deviations_are_those_of_draws_that_are_laid_on_the_estimate() -> None:
    """Of a linear model with a known posterior: many heads are drawn, aligned and measured one by one."""
    generator = torch.Generator().manual_seed(2)
    vertices = 60 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    shape = torch.randn(40, 3, 4, generator=generator, dtype=torch.float64)
    basis = 0.05 * torch.cat([shape, 30 * similarity_motions(vertices)], 2)  # moves as a whole, too
    rows = torch.randn(30, 11, generator=generator, dtype=torch.float64)
    precision = rows.T @ rows
    aligned = torch.arange(40) < 25
    found = vertex_deviation(precision, basis, vertices, aligned)
    root = torch.linalg.cholesky(torch.linalg.inv(precision))
    squares = torch.zeros(40).double()
    count = 3000
    for _ in range(count):
        moved = vertices + basis @ (root @ torch.randn(11, generator=generator, dtype=torch.float64))
        squares += (laid_on(moved, vertices, aligned) - vertices).square().sum(1)
    assert torch.allclose(found, (squares / count).sqrt(), rtol=0.06)


def test_what_only_moves_turns_or_grows_the_head_is_no_uncertainty_of_its_shape() -> None:
    vertices = 60 * torch.randn(30, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    everything = torch.ones(30, dtype=torch.bool)
    found = vertex_deviation(torch.eye(7).double(), similarity_motions(vertices), vertices, everything)
    assert float(found.max()) < 1e-9


def laid_on(moved: Tensor, vertices: Tensor, aligned: Tensor) -> Tensor:
    """Vertices [V, 3] after the similarity that brings some of them nearest to others' (Umeyama, 1991)."""
    source, target = moved[aligned], vertices[aligned]
    middle, goal = source.mean(0), target.mean(0)
    source, target = source - middle, target - goal
    turn = Rotation.align_vectors(target.numpy(), source.numpy())[0]
    turned = torch.from_numpy(turn.apply(source.numpy()))
    scale = (turned * target).sum() / source.square().sum()
    return scale * torch.from_numpy(turn.apply((moved - middle).numpy())) + goal
