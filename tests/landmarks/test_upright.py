"""Photos whose face is upside down or on its side: they are turned, and all that goes with them."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PORTRAIT
from PIL import Image

from nextface.config import Config
from nextface.landmarks import Landmarks, face_box, face_width
from nextface.landmarks.detection import detect
from nextface.landmarks.detection.faces import Detectors
from nextface.landmarks.detection.opencv import OpenCVDetector
from nextface.landmarks.detection.several_looks import is_steady
from nextface.landmarks.detection.tiles import search
from nextface.landmarks.detection.upright import search_upright, turns_of
from nextface.photos.photo import Photo, load_photo
from nextface.photos.shot import Shot
from nextface.preparation.prepare import prepare

PHOTOS = Path(__file__).parents[3] / "shared" / "photos"
# The others are only turned upside down, which is harder.
ON_THEIR_SIDES = (
    "man_turned_down",
    "woman_smile_teeth",
    "man_sunglasses",
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait in a picture that is wider than high, so that turning shows."""
    picture = Image.new("RGB", (700, 512), (90, 90, 90))
    with Image.open(PORTRAIT) as portrait:
        picture.paste(portrait.convert("RGB"), (120, 0))
    path = tmp_path_factory.mktemp("wide") / "wide.png"
    picture.save(path)
    return path


def turned(path: Path, turns: int, folder: Path) -> Path:
    """The photo turned anticlockwise by right angles, as a file."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels, turns))).save(folder / f"turned{turns}.png")
    return folder / f"turned{turns}.png"


def shot(photo: Path, folder: Path, **options: Path) -> Shot:
    return prepare(photo, Config(maxResolution=128), folder, "cpu", **options)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photo_gives_the_upright_crop(wide: Path, turns: int, tmp_path: Path) -> None:
    upright, other = shot(wide, tmp_path), shot(turned(wide, turns, tmp_path), tmp_path)
    assert not any("turned" in note for note in upright.notes)
    assert any("the photo is turned" in note for note in other.notes)
    assert other.frame.thumbnail is not None and upright.frame.thumbnail is not None
    assert np.abs(other.frame.thumbnail.astype(float) - upright.frame.thumbnail).mean() < 1
    assert torch.allclose(other.landmarks.points, upright.landmarks.points, atol=1.0)
    assert torch.allclose(other.frame.principal, upright.frame.principal, atol=1.0)
    there = Photo(wide, np.zeros((512, 700, 3), np.float32), None).to_turned(turns)
    through = other.frame.photo_to_image @ np.vstack([there, [0, 0, 1]])
    assert np.allclose(through, upright.frame.photo_to_image, atol=1.0), "it maps the pixels of the file"


class Contrary(OpenCVDetector):
    """Sees lying faces the wrong way round and upright ones where they are upside down, as in some busts."""

    def detect(self, rgb: np.ndarray) -> list[Landmarks]:
        """The faces; those on their sides turned by half a turn."""
        faces = super().detect(rgb)
        if not faces:
            height, width = rgb.shape[:2]
            back = np.array([[-1.0, 0.0, width], [0.0, -1.0, height]])
            faces = [face.transformed(back) for face in super().detect(np.ascontiguousarray(rgb[::-1, ::-1]))]
            return [face.transformed(half_turn(face)) for face in faces]
        return [face.transformed(half_turn(face)) if turns_of(face) in (1, 3) else face for face in faces]


def half_turn(face: Landmarks) -> np.ndarray:
    middle = (face.points.min(0) + face.points.max(0)) / 2
    return np.column_stack([-np.eye(2), 2 * middle])


def test_a_face_that_several_looks_agree_on_is_not_turned(wide: Path) -> None:
    """Whatever is seen from the sides; one that is not there, in a portrait upside down, is no such face."""
    with Contrary() as contrary, OpenCVDetector() as plain:
        rgb = np.asarray(Image.open(wide).convert("RGB"))
        found = search_upright(contrary, rgb)
        assert found.turns == 0
        assert np.allclose(found.faces[0].points, plain.detect(rgb)[0].points)
        assert is_steady(plain, rgb, found.faces[0])
        upside_down = np.ascontiguousarray(rgb[::-1, ::-1])
        astray = found.faces[0].transformed(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -20.0]]))
        assert not is_steady(plain, upside_down, astray)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_pixels_go_where_the_map_says(turns: int) -> None:
    photo = Photo(Path("photo"), np.zeros((20, 30, 3), np.float32), None)
    photo.srgb[4, 7] = 1
    x, y = photo.to_turned(turns) @ [7.5, 4.5, 1]
    assert photo.turned(turns).srgb[int(y), int(x)].min() == 1


def test_masks_and_landmarks_of_a_turned_photo_are_turned_with_it(wide: Path, tmp_path: Path) -> None:
    face = detect(load_photo(wide)).landmarks
    x0, y0, x1, y1 = map(int, face_box(face))
    painted = Image.new("L", (700, 512), 0)
    painted.paste(255, (x0, y0, (x0 + x1) // 2, y1))  # the left half of the face
    painted.save(tmp_path / "mask.png")
    there = load_photo(wide).to_turned(2)
    points = {"detector": "mediapipe", "points": face.transformed(there).points.tolist()}
    (tmp_path / "points.json").write_text(json.dumps(points))
    plain = shot(wide, tmp_path, mask=tmp_path / "mask.png")
    half = shot(
        turned(wide, 2, tmp_path),
        tmp_path,
        mask=turned(tmp_path / "mask.png", 2, tmp_path.joinpath("masks").mkdir() or tmp_path / "masks"),
        landmarks=tmp_path / "points.json",
    )
    assert torch.allclose(half.landmarks.points, plain.landmarks.points, atol=0.5)
    assert (half.mask ^ plain.mask).mean() < 0.02
    assert 0.3 < half.mask.mean() < 0.7


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photos for development")
@pytest.mark.parametrize("detector", ["mediapipe", "opencv"])
def test_ten_photos_are_known_in_every_turn(detector: str) -> None:
    """In some of them, the detector sees an upright face in the one that is upside down."""
    with closing(Detectors()) as started:
        finder, _ = started.get(detector)
        for path in sorted(PHOTOS.glob("*.jpg")):
            photo = load_photo(path)
            (true, *_) = search(finder, as_bytes(photo), wanted=1)
            for turns in (1, 2, 3) if path.stem in ON_THEIR_SIDES else (2,):
                turned = photo.turned(turns)
                found = search_upright(finder, as_bytes(turned))
                moved = true.transformed(photo.to_turned(turns)).transformed(turned.to_turned(found.turns))
                error = np.linalg.norm(found.faces[0].points - moved.points, axis=1).mean()
                assert error < 0.05 * face_width(true), (path.name, turns, found.turns)
                assert found.turns or path.stem == "man_turned_down", "that head is tilted by 41 degrees"


def as_bytes(photo: Photo) -> np.ndarray:
    return np.ascontiguousarray(np.round(photo.srgb * 255).astype(np.uint8))
