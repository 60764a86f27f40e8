"""Camera matrices and distortion against the model's own formula, and photos that were bent by it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PORTRAIT
from PIL import Image

from nextface.config import Config
from nextface.errors import PhotoError
from nextface.landmarks.detection import detect
from nextface.photos.lens import Lens
from nextface.photos.photo import load_photo
from nextface.preparation.prepare import prepare
from nextface.scene.colour import linear_to_srgb

MATRIX = np.array([[410.0, 1.5, 163.0], [0, 405, 117], [0, 0, 1]])
BARREL = np.array([-0.28, 0.11, 0.0015, -0.001, -0.02])
PINCUSHION = np.array([0.12, -0.05, 0.0, 0.001, 0.01])


def lens(distortion: np.ndarray = BARREL) -> Lens:
    return Lens(320, 240, MATRIX, distortion)


def bent(points: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Where a lens draws what a pinhole draws at points [P, 2]: the formula of OpenCV's documentation."""
    k1, k2, p1, p2, k3 = distortion
    x, y = (np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(MATRIX).T)[:, :2].T
    r = x**2 + y**2
    radial = 1 + k1 * r + k2 * r**2 + k3 * r**3
    x, y = (
        x * radial + 2 * p1 * x * y + p2 * (r + 2 * x**2),
        y * radial + p1 * (r + 2 * y**2) + 2 * p2 * x * y,
    )
    return (np.stack([x, y, np.ones_like(x)], 1) @ MATRIX.T)[:, :2]


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(np.linspace(5, 315, 9), np.linspace(5, 235, 7)), -1).reshape(-1, 2)


@pytest.mark.parametrize("distortion", [BARREL, PINCUSHION])
def test_points_go_both_ways(distortion: np.ndarray) -> None:
    points = grid()
    seen = lens(distortion).distorted(points)
    np.testing.assert_allclose(seen, bent(points, distortion), atol=1e-8)
    assert np.abs(seen - points).max() > 2  # else nothing would be tested
    np.testing.assert_allclose(lens(distortion).undistorted(seen), points, atol=1e-4)
    straight = lens(distortion).straight
    assert straight.is_straight and np.array_equal(straight.undistorted(points), points)
    assert not lens().undistorted(np.zeros((0, 2))).size


def pattern(points: np.ndarray) -> np.ndarray:
    """A smooth picture's linear light [..., 3] at points [..., 2] in pixels."""
    x, y = points[..., 0], points[..., 1]
    waves = [np.sin(x / 9) * np.cos(y / 11), np.cos(x / 13 + y / 17), np.sin(y / 8)]
    return 0.45 + 0.35 * np.stack(waves, -1)


@pytest.mark.parametrize("distortion", [BARREL, PINCUSHION])
def test_a_bent_photo_is_straightened(distortion: np.ndarray) -> None:
    """A picture painted on a plane, as the lens takes it, becomes the pinhole's; half a pixel would show."""
    one = lens(distortion)
    centres = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), -1)
    taken = linear_to_srgb(pattern(one.undistorted(centres.reshape(-1, 2))).reshape(240, 320, 3))
    found, shown = one.straightened(taken.astype(np.float32))
    expected = linear_to_srgb(pattern(centres))
    inside = shown.copy()
    inside[[0, 1, -1, -2]] = inside[:, [0, 1, -1, -2]] = False
    assert found.dtype == np.float32
    assert np.abs(found - expected)[inside].max() < 0.02
    assert np.abs(found - expected)[inside].mean() < 1e-3  # OpenCV looks up at 32nds of a pixel
    assert np.abs(taken - expected)[inside].mean() > 0.01
    if distortion is BARREL:
        assert shown.mean() > 0.99
    else:
        assert 0.8 < shown.mean() < 0.99 and not shown[0, 0]
        assert shown[120, 160]


def test_a_mask_is_straightened_with_its_photo() -> None:
    one = lens()
    centre = np.array([[250.0, 60.0]])
    where = np.stack(np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5), -1)
    painted = np.linalg.norm(where - one.distorted(centre), axis=-1) < 12
    moved = one.straightened_mask(painted)
    assert moved.dtype == bool
    np.testing.assert_allclose(where[moved].mean(0), centre[0], atol=0.5)
    assert np.abs(where[painted].mean(0) - centre[0]).max() > 1


def test_opencvs_matrix_is_shifted_by_half_a_pixel() -> None:
    found = Lens.from_opencv(320, 240, MATRIX, BARREL[:4])
    assert found.matrix[0, 2] == MATRIX[0, 2] + 0.5 and found.matrix[1, 2] == MATRIX[1, 2] + 0.5
    assert np.array_equal(found.distortion, [*BARREL[:4], 0])


def test_a_lens_follows_the_size_of_photos_but_not_their_shape() -> None:
    twice = lens().of_size(640, 480)
    np.testing.assert_allclose(twice.distorted(2 * grid()), 2 * lens().distorted(grid()))
    with pytest.raises(PhotoError, match="320 x 240"):
        lens().of_size(240, 320)


def test_an_assumed_lens_is_centred() -> None:
    guess = Lens.assumed(300, 200, 250.0)
    assert not guess.known and guess.is_straight
    assert guess.matrix.tolist() == [[250, 0, 150], [0, 250, 100], [0, 0, 1]]


@pytest.mark.parametrize(
    ("matrix", "distortion", "word"),
    [
        (np.eye(2), BARREL, "3 x 3"),
        (-MATRIX, BARREL, "no camera"),
        (MATRIX * np.nan, BARREL, "finite"),
        (MATRIX, BARREL[:3], "k1, k2, p1, p2, k3"),
    ],
)
def test_impossible_lenses_are_refused(matrix: np.ndarray, distortion: np.ndarray, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Lens(320, 240, matrix, distortion)


def test_a_photo_is_straightened_once_on_its_way_in(tmp_path: Path) -> None:
    """The portrait as a lens bends it, prepared with that lens, is the portrait as a pinhole takes it."""
    photo = load_photo(PORTRAIT)
    height, width = photo.srgb.shape[:2]
    matrix = np.array([[700.0, 2.0, width / 2 + 9], [0, 690, height / 2 - 14], [0, 0, 1]])
    one = Lens(width, height, matrix, np.array([-0.6, 0.3, 0.004, -0.003, 0.0]))
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    source = one.undistorted(centres.reshape(-1, 2)).reshape(height, width, 2).astype(np.float32) - 0.5
    taken = cv2.remap(photo.srgb, source[..., 0], source[..., 1], cv2.INTER_CUBIC)
    Image.fromarray((taken.clip(0, 1) * 255 + 0.5).astype(np.uint8)).save(tmp_path / "bent.png")
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")

    found = detect(photo).landmarks
    paths = []
    for name, points in (("straight", found.points), ("bent", one.distorted(found.points))):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps({"detector": found.detector, "points": points.tolist()}))
    config = Config(maxResolution=128)
    expected = prepare(PORTRAIT, config, tmp_path, "cpu", paths[0])
    shot = prepare(tmp_path / "bent.png", config, tmp_path, "cpu", paths[1], lens=one)

    assert np.abs(one.distorted(found.points) - found.points).max() > 2
    assert float((shot.landmarks.points - expected.landmarks.points).abs().max()) < 0.01
    assert np.allclose(shot.frame.photo_to_image, expected.frame.photo_to_image)
    difference = (shot.observation.srgb - expected.observation.srgb).abs()
    assert float(difference.mean()) < 0.004
    scale = shot.frame.photo_to_image[0, 0]
    assert shot.lens.focal == pytest.approx(700 * scale) and shot.lens.spread < expected.lens.spread / 10
    assert shot.frame.aspect == pytest.approx(690 / 700) and shot.frame.skew == pytest.approx(2 / 700)
    middle = shot.frame.photo_to_image @ [*matrix[:2, 2], 1]
    np.testing.assert_allclose(shot.frame.principal[0].numpy(), middle, rtol=1e-6)
    assert expected.frame.aspect == 1 and expected.frame.skew == 0

    half = prepare(tmp_path / "bent.png", config, tmp_path, "cpu", paths[1], tmp_path / "mask.png", lens=one)
    edge = half.mask.any(0).nonzero()[0].max() / scale - half.frame.photo_to_image[0, 2] / scale
    row = np.mean(found.points[:, 1])
    assert edge == pytest.approx(one.undistorted(np.array([[width / 2, row]]))[0, 0], abs=4)
