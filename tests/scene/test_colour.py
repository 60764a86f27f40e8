"""The sRGB curve against its definition, both ways, in NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nextface.scene.colour import linear_to_srgb, srgb_to_linear


def test_known_values() -> None:
    encoded = np.array([0.0, 0.04045, 0.5, 118 / 255, 1.0])
    expected = np.array([0.0, 0.04045 / 12.92, 0.21404114, 0.18116424, 1.0])
    assert np.allclose(srgb_to_linear(encoded), expected, atol=1e-7)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_round_trip_beyond_the_unit_range(make) -> None:
    values = make(np.linspace(-0.2, 4, 1001))
    assert abs(linear_to_srgb(srgb_to_linear(values)) - values).max() < 1e-6
    assert abs(srgb_to_linear(linear_to_srgb(values)) - values).max() < 1e-6


def test_torch_and_numpy_agree_and_keep_dtypes() -> None:
    values = np.linspace(0, 1, 257, dtype=np.float32)
    assert srgb_to_linear(values).dtype == np.float32
    assert linear_to_srgb(torch.from_numpy(values)).dtype == torch.float32
    assert np.allclose(srgb_to_linear(values), srgb_to_linear(torch.from_numpy(values)).numpy(), atol=1e-7)


@pytest.mark.parametrize("curve", [srgb_to_linear, linear_to_srgb])
def test_gradients_are_finite_and_right(curve) -> None:
    values = torch.tensor([-0.1, 0.0, 0.001, 0.02, 0.2, 0.9, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(curve, values)
