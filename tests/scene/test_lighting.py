"""Spherical harmonics, maps and non-negative lights against closed forms and SciPy."""

import math

import numpy as np
import pytest
import scipy.special
import torch

from nextface.scene.lighting import (
    cosine_kernel,
    evaluate_map,
    fibonacci_directions,
    map_directions,
    map_solid_angles,
    positive_kernel,
    positive_lobes,
    project_map,
    scale_bands,
    sh_basis,
    to_light_frame,
)


def random_directions(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.nn.functional.normalize(
        torch.randn(count, 3, dtype=torch.float64, generator=generator), dim=-1
    )


def test_basis_agrees_with_scipy_up_to_twelve_bands():
    directions = random_directions(64)
    theta, azimuth = (
        np.arccos(directions[:, 2].numpy()),
        np.arctan2(directions[:, 1].numpy(), directions[:, 0].numpy()),
    )
    basis = sh_basis(directions, 12)
    for degree in range(12):
        for m in range(-degree, degree + 1):
            complex_value = scipy.special.sph_harm_y(degree, abs(m), theta, azimuth)
            part = complex_value.imag if m < 0 else complex_value.real
            expected = part * (math.sqrt(2) * (-1) ** m if m else 1)  # SciPy carries the Condon-Shortley sign
            np.testing.assert_allclose(basis[:, degree * (degree + 1) + m].numpy(), expected, atol=1e-10)


def test_first_band_is_x_y_z_as_the_conventions_say():
    direction = random_directions(5)
    expected = 0.4886025119 * direction[:, [1, 2, 0]]
    torch.testing.assert_close(sh_basis(direction, 2)[:, 1:], expected)


def test_basis_is_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(24)
    azimuth = 2 * np.pi * np.arange(48) / 48
    z, phi = np.meshgrid(nodes, azimuth, indexing="ij")
    sine = np.sqrt(1 - z**2)
    directions = torch.from_numpy(np.stack([sine * np.cos(phi), sine * np.sin(phi), z], -1).reshape(-1, 3))
    weight = torch.from_numpy(np.repeat(weights, 48) * 2 * np.pi / 48)
    basis = sh_basis(directions, 12)
    torch.testing.assert_close(
        basis.mT @ (basis * weight[:, None]), torch.eye(144, dtype=torch.float64), atol=1e-10, rtol=0
    )


def test_map_orientation():
    directions = map_directions(32)
    assert directions[15:17, 31:33].mean((0, 1))[2] > 0.99  # centre: towards the photographer
    assert directions[0].mean(0)[1] > 0.99  # first row: up
    assert (
        directions[15:17, 15:17].mean((0, 1))[0] > 0.99
    )  # a quarter from the left: phi = 90 degrees is right (+x)
    assert float(map_solid_angles(32).sum()) == pytest.approx(4 * math.pi)


@pytest.mark.parametrize("bands", [1, 2, 9, 12])
def test_coefficients_survive_the_map(bands):
    generator = torch.Generator().manual_seed(bands)
    coefficients = torch.randn(2, bands**2, 3, generator=generator)
    recovered = project_map(evaluate_map(coefficients, 64), bands)
    assert float((recovered - coefficients).abs().max()) < 1e-3 * float(coefficients.abs().max())


def test_too_small_a_map_is_refused():
    with pytest.raises(ValueError, match="9 bands"):
        project_map(torch.ones(1, 8, 16, 3), 9)


def test_cosine_kernel_equals_a_numerical_integral():
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = (nodes + 1) / 2, weights / 2  # the upper half: the clamped cosine is smooth there
    for degree, factor in enumerate(cosine_kernel(10)):
        legendre = np.polynomial.legendre.legval(nodes, [0] * degree + [1])
        assert float(factor) == pytest.approx(2 * np.pi * np.sum(weights * nodes * legendre), abs=1e-12)


@pytest.mark.parametrize("bands", range(1, 13))
def test_lobes_are_non_negative_and_of_unit_power(bands):
    lobes = positive_lobes(bands, 64)
    directions = fibonacci_directions(5000)
    values = sh_basis(directions, bands) @ lobes
    assert float(values.min()) > -1e-9
    torch.testing.assert_close(
        values.mean(0) * 4 * math.pi, torch.ones(64, dtype=torch.float64), atol=2e-3, rtol=0
    )
    assert float(positive_kernel(bands)[-1]) > 0  # the highest band is reached


def test_lobes_span_every_band():
    assert int(torch.linalg.matrix_rank(positive_lobes(9, 256))) == 81


def test_scaling_bands_convolves_with_a_zonal_kernel():
    direction = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64)
    light = sh_basis(direction, 4).mT[None]
    scaled = scale_bands(light, torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64))
    at_peak = (sh_basis(direction, 4) @ scaled[0]).item()
    assert at_peak == pytest.approx((1 + 3 * 0.5 + 5 * 0.25) / (4 * math.pi))


def test_light_frame_is_the_camera_frame_with_y_and_z_negated():
    torch.testing.assert_close(
        to_light_frame(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[1.0, -2.0, -3.0]])
    )
