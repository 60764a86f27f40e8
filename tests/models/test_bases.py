"""A model's mean, modes, expressions and eye centres, as exports ask for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from puppet import Puppet, make_puppet
from scipy.optimize import least_squares

from nextface.models.bases import model_bases, sphere_centre
from nextface.models.open_head import load_open_head

ROUNDING = 4e-5  # mm: of float32 at 256 mm


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return make_puppet()


def test_bases_of_a_linear_model_are_its_own() -> None:
    head = load_open_head()
    bases = model_bases(head)
    assert torch.equal(bases.neutral, head.mean)
    torch.testing.assert_close(bases.modes, head.identity_basis, rtol=0, atol=ROUNDING)
    assert tuple(bases.expressions) == head.expression_names
    offsets = torch.stack(list(bases.expressions.values()))
    torch.testing.assert_close(offsets, head.expression_basis, rtol=0, atol=ROUNDING)
    assert set(bases.reach.values()) == {1.0}
    assert bases.regions is head.regions


def test_bases_of_a_nonlinear_model_are_those_of_an_identity(puppet: Puppet) -> None:
    identity = torch.randn(puppet.identity_size, generator=torch.Generator().manual_seed(2))
    rest = puppet.expression_prior.mean
    bases = model_bases(puppet, identity)
    assert torch.equal(bases.neutral, puppet.vertices(identity[None], rest[None])[0])
    asked = identity.clone().requires_grad_()
    vertices = puppet.vertices(asked[None], rest[None])[0]
    for vertex, axis in ((100, 1), (6000, 0), (9000, 2)):
        (slope,) = torch.autograd.grad(vertices[vertex, axis], asked, retain_graph=True)
        torch.testing.assert_close(bases.modes[:, vertex, axis], slope, rtol=2e-3, atol=2e-3)
    opened = rest.clone()
    name = "jaw x"
    opened[puppet.expression_names.index(name)] += bases.reach[name]
    torch.testing.assert_close(
        bases.neutral + bases.expressions[name],
        puppet.vertices(identity[None], opened[None])[0],
        rtol=0,
        atol=ROUNDING,
    )
    assert bases.reach[name] == pytest.approx(0.55)
    assert (model_bases(puppet).expressions[name] - bases.expressions[name]).abs().max() > 0.5, "jaws differ"
    assert bases.eye_centres == {}


def test_eye_centres_are_those_of_the_eyeballs() -> None:
    """The eyeballs are rings around an axis: their centre lies nearly as far from every vertex."""
    head = load_open_head()
    identity = torch.zeros(head.identity_size)
    identity[:5] = 1.0
    bases = model_bases(head, identity)
    for side, sign in (("left", 1), ("right", -1)):
        ball = bases.neutral[head.regions["sclera"] & (bases.neutral[:, 0] * sign > 0)].double().numpy()

        def off(sphere: np.ndarray, ball: np.ndarray = ball) -> np.ndarray:
            return np.linalg.norm(ball - sphere[:3], axis=1) - sphere[3]

        nearest = least_squares(off, [*ball.mean(0), 16.0]).x
        assert 15 < nearest[3] < 18
        assert np.abs(bases.eye_centres[side].numpy() - nearest[:3]).max() < 0.1
    other = model_bases(replace(head, regions={"eyes": head.regions["eyes"]})).eye_centres["left"]
    assert (other - model_bases(head).eye_centres["left"]).norm() < 0.5


def test_a_spheres_centre_is_found_from_a_part_of_it() -> None:
    generator = torch.Generator().manual_seed(5)
    ways = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=1)
    cap = torch.tensor([30.0, 40, 60]) + 12 * ways[ways[:, 2] > 0.7]
    centre = sphere_centre(cap)
    assert centre is not None
    torch.testing.assert_close(centre, torch.tensor([30.0, 40, 60]), rtol=0, atol=1e-3)
    assert sphere_centre(cap[:3]) is None
    assert sphere_centre(cap * torch.tensor([1.0, 1, 0])) is None, "a disc is no part of a sphere"
