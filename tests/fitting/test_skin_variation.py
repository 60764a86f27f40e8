"""How far stage 3's corrections of skin may go, and in which directions of colour."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nextface.fitting.refinement.refine import _bounded, _unbounded
from nextface.fitting.refinement.skin_variation import (
    BLOOD,
    LATENT_PER_LOG,
    MELANIN,
    colour_change,
    skin_covariance,
    skin_whitening,
)
from nextface.models import create as create_model
from nextface.models.appearance import skin_colour
from nextface.models.open_head.model import OpenHead
from nextface.scene.reflectance import from_latent, to_latent


def test_skin_varies_as_on_a_scan() -> None:
    covariance = skin_covariance().numpy()

    def deviation(*of: float) -> float:
        return float(np.sqrt(np.array(of) @ covariance @ np.array(of)))

    assert deviation(1 / 3, 1 / 3, 1 / 3) == pytest.approx(0.21, rel=0.1)
    assert deviation(1, -1, 0) == pytest.approx(0.086, rel=0.1)
    assert deviation(0, 1, -1) == pytest.approx(0.058, rel=0.3)


def test_chromophores_are_the_heads() -> None:
    model = create_model("open")
    assert isinstance(model, OpenHead)
    polynomial = model.appearance.skin_polynomial.double()

    def log_albedo(amounts: torch.Tensor) -> torch.Tensor:
        return skin_colour(amounts[:1], amounts[1:], polynomial)[0].log()

    slopes = torch.autograd.functional.jacobian(log_albedo, torch.tensor([-0.25, 0.0]).double())
    for slope, direction in zip(slopes.T, (MELANIN, BLOOD), strict=True):
        absorbed = -slope / slope.norm()
        assert float(absorbed @ torch.tensor(direction).double()) > 0.98


def test_corrections_count_by_how_rare_they_are() -> None:
    whitening = skin_whitening().double()

    def cost(log_change: tuple[float, ...]) -> float:
        """Of a unit change of log albedo in this direction."""
        change = torch.tensor(log_change).double()
        return float((change @ whitening).square().sum() / change.square().sum())

    ones = torch.ones(3).double()
    assert float((ones @ whitening).square().mean()) == pytest.approx(1, rel=1e-5)
    likely = cost((1.0, 1.0, 1.0))
    assert likely < cost(MELANIN) < cost(BLOOD) < 0.2 * cost((1.0, -1.0, 1.0))
    whitened = whitening.T @ skin_covariance() @ whitening
    assert torch.allclose(whitened / whitened.trace() * 3, torch.eye(3).double(), atol=1e-4)


def test_a_grey_change_counts_alike_on_all_colours() -> None:
    """Half the albedo of light skin and of dark skin: as much, whatever its latent values do."""
    colours = torch.tensor([[0.6, 0.4, 0.3], [0.1, 0.05, 0.03]])
    latent = to_latent(colours, "diffuse")
    skin = torch.ones(2, 1)
    change = colour_change(latent, to_latent(colours / 2, "diffuse") - latent, skin)
    sizes = change.square().mean(-1).sqrt() / LATENT_PER_LOG
    assert torch.allclose(sizes, torch.full((2,), math.log(2)), rtol=1e-3)
    assert not colour_change(latent, torch.zeros(2, 3), skin).any()
    grey = torch.full((2, 3), 0.3)
    assert torch.allclose(colour_change(latent, grey, torch.zeros(2, 1)), grey)


def test_f0_stays_near_skins() -> None:
    usual = to_latent(torch.tensor([0.028]), "specular")
    for correction, expected in ((-50.0, 0.017), (50.0, 0.042), (0.0, 0.028)):
        bounded = _bounded(torch.tensor([correction]), "specular")
        assert float(from_latent(usual + bounded, "specular")) == pytest.approx(expected, abs=1e-3)
    some = torch.linspace(-1, 1, 9)
    assert torch.allclose(_unbounded(_bounded(some, "specular"), "specular"), some, atol=1e-5)
    assert torch.equal(_bounded(some, "diffuse"), some)
