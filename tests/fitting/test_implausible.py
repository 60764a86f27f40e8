"""Landmarks that are right in form and no face's: the run ends in words after stage 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT

from nextface import Config, reconstruct
from nextface.errors import ImplausibleFitError
from nextface.landmarks.detection import detect
from nextface.photos.photo import load_photo

SKIPS = frozenset({2, 3})


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return detect(load_photo(PORTRAIT)).landmarks.points


def write(folder: Path, points: np.ndarray) -> Path:
    path = folder / "points.json"
    path.write_text(json.dumps({"detector": "mediapipe", "points": points.tolist()}))
    return path


def wrong(points: np.ndarray, kind: str) -> np.ndarray:
    random = np.random.default_rng(1)
    low, high = points.min(0), points.max(0)
    return {
        "random": random.uniform(low, high, points.shape),
        "shuffled": random.permutation(points),
        "backwards": points[::-1],
        "mirrored": np.stack([low[0] + high[0] - points[:, 0], points[:, 1]], 1),
        "x and y swapped": points[:, ::-1],
    }[kind]


@pytest.mark.parametrize("kind", ["random", "shuffled", "backwards", "mirrored", "x and y swapped"])
def test_landmarks_that_are_no_face_end_the_run(
    kind: str, points: np.ndarray, tiny_config: Config, tmp_path: Path
) -> None:
    path = write(tmp_path, wrong(points, kind))
    with pytest.raises(ImplausibleFitError, match=r"astronaut\.png") as caught:
        reconstruct(PORTRAIT, tmp_path, tiny_config, landmarks=path, skip_stages=SKIPS)
    assert caught.value.exit_code == 2
    assert ("mirrored" in str(caught.value)) == (kind in ("mirrored", "x and y swapped"))


def test_landmarks_with_much_noise_are_still_a_face(
    points: np.ndarray, tiny_config: Config, tmp_path: Path
) -> None:
    size = np.prod(np.ptp(points, axis=0)) ** 0.5
    noisy = points + np.random.default_rng(1).normal(0, 0.03 * size, points.shape)
    reconstruct(PORTRAIT, tmp_path, tiny_config, landmarks=write(tmp_path, noisy), skip_stages=SKIPS)
