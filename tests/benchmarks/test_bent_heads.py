"""Bent heads: random fields against their kernel, and what keeps them like people."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ground_truth import bent as source
from benchmarks.ground_truth.bent import (
    BOUND,
    EYES,
    HELD,
    LOOSE,
    MIRROR,
    ONE_SIDED,
    bounded,
    bumps,
    held_at_eyes,
    random_field,
    regions,
)


def test_fields_have_the_covariance_of_materns_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """sigma^2 (1 + a + a^2 / 3) exp(-a), a = sqrt(5) d / length; and two sides that are nearly alike."""
    length, sigma = 30.0, 1.3
    monkeypatch.setattr(source, "LENGTHS", (length, length))
    monkeypatch.setattr(source, "STRENGTH", (sigma, sigma))
    monkeypatch.setattr(source, "WAVES", 60)
    apart = np.array([0.0, 10.0, 25.0, 60.0])
    places = np.array([[x, y, z] for x in (500.0, 900.0) for y in (0.0, 400.0) for z in (0.0, 400.0)])
    points = places[:, None] + np.stack([0 * apart, apart, 0 * apart], 1)  # the sides are far from each other
    points = np.concatenate([points, points[:, :1] * MIRROR], 1).reshape(-1, 3)
    random = np.random.default_rng(1)
    drawn = np.stack([random_field(points, random) for _ in range(1500)]).reshape(1500, 8, 5, 3)
    a = np.sqrt(5) * apart / length
    kernel = sigma**2 * (1 + a + a**2 / 3) * np.exp(-a)
    found = (drawn[:, :, :1] * drawn[:, :, :4]).mean((0, 1, 3))
    np.testing.assert_allclose(found, (1 + ONE_SIDED**2) * kernel, atol=0.05)
    opposite = (drawn[:, :, 0] * drawn[:, :, 4] * MIRROR).mean()
    assert opposite == pytest.approx((1 - ONE_SIDED**2) * sigma**2, abs=0.05)


def test_amounts_are_normal_up_to_their_bound() -> None:
    drawn = bounded(np.random.default_rng(1), 200, 100)
    assert abs(drawn).max() <= BOUND and abs(drawn.mean()) < 0.02
    inside = np.random.default_rng(2).normal(size=400_000)
    assert drawn.std() == pytest.approx(inside[abs(inside) <= BOUND].std(), abs=0.01)


def test_regions_share_every_point_and_eyes_belong_to_one() -> None:
    points = np.random.default_rng(1).uniform(-120, 120, (500, 3))
    shares = regions(points)
    np.testing.assert_allclose(shares.sum(1), 1)
    np.testing.assert_allclose(regions(points * MIRROR), shares)
    about = EYES[0] + 18 * np.eye(3)
    assert (regions(about)[:, list(source.REGIONS).index("eyes")] > 0.999).all()


def test_what_lies_about_the_eyes_moves_as_one() -> None:
    away = np.array([0.0, 5.0, HELD - 1, (HELD + LOOSE) / 2, LOOSE + 1])
    points = EYES[1] - np.stack([away, 0 * away, 0 * away], 1)
    change = np.random.default_rng(1).normal(size=(5, 3))
    moved = np.array([[0.0, 0, 0], [1.0, 2, 3]])
    held = held_at_eyes(points, change, moved)
    np.testing.assert_allclose(held[:3], np.tile(moved[1], (3, 1)))
    np.testing.assert_allclose(held[3], (change[3] + moved[1]) / 2)
    np.testing.assert_allclose(held[4], change[4])


def test_bumps_are_local_and_as_strong_as_they_say() -> None:
    """A chin moves; the crown does not; and both sides of a jaw move nearly alike."""
    points = np.array([[0.0, -68, 108], [0, 140, -20], [60, -50, 50], [-60, -50, 50]])
    drawn = np.stack([bumps(points, np.random.default_rng(seed)) for seed in range(400)])
    assert (drawn[:, 1] == 0).all() and 1.5 < drawn[:, 0, 2].std() < 3
    left, right = drawn[:, 2, 0], -drawn[:, 3, 0]
    assert np.corrcoef(left, right)[0, 1] == pytest.approx((1 - ONE_SIDED**2) / (1 + ONE_SIDED**2), abs=0.06)
