"""A reconstruction that cannot be one of its photo is not called done."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT
from PIL import Image

from nextface import Config, reconstruct
from nextface.errors import ImplausibleFitError
from nextface.landmarks.detection import detect
from nextface.photos.photo import load_photo
from nextface.runs.plausibility import LEAST_PSNR, check_picture


def test_a_face_that_is_not_in_the_photo_is_not_called_done(tmp_path: Path, tiny_config: Config) -> None:
    """Right landmarks and a right mask on a picture of black and white squares."""
    photo = load_photo(PORTRAIT)
    height, width = photo.srgb.shape[:2]
    squares = np.random.default_rng(0).integers(0, 2, (height // 8 + 1, width // 8 + 1), np.uint8) * 255
    picture = np.kron(squares, np.ones((8, 8), np.uint8))[:height, :width]
    Image.fromarray(picture).convert("RGB").save(tmp_path / "squares.png")
    Image.new("L", (width, height), 255).save(tmp_path / "mask.png")
    points = detect(photo, "opencv").landmarks.points.tolist()
    (tmp_path / "points.json").write_text(json.dumps({"detector": "mediapipe", "points": points}))
    with pytest.raises(ImplausibleFitError, match=r"squares\.png \(\d\.\d dB\).*render_0\.png") as error:
        reconstruct(
            tmp_path / "squares.png",
            tmp_path,
            replace(tiny_config, maxResolution=128),
            landmarks=tmp_path / "points.json",
            mask=tmp_path / "mask.png",
            skip_stages=frozenset({3}),
        )
    assert error.value.exit_code == 2 and (tmp_path / "squares" / "render_0.png").is_file()


def test_photos_without_a_figure_and_those_that_are_met_pass(tmp_path: Path) -> None:
    check_picture([{"photo": "a", "psnr": None}, {"photo": "b", "psnr": LEAST_PSNR}], tmp_path)
