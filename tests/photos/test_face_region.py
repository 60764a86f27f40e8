"""The skin mask on the bundled portrait and on what is painted over it, and its parts by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import nextface
from nextface.config import Config
from nextface.errors import PhotoError
from nextface.landmarks import MEDIAPIPE, Landmarks, face_box, share_outside
from nextface.landmarks.detection import detect
from nextface.landmarks.zones import face_zones
from nextface.photos.photo import Photo, crop_to_box, load_photo
from nextface.preparation.colour_density import ColourDensity
from nextface.preparation.face_region import FaceRegion, face_region, read_mask
from nextface.preparation.prepare import prepare
from nextface.preparation.random_walk import random_walk
from nextface.scene.colour import linear_to_srgb, srgb_to_linear

ASTRONAUT = Path(nextface.__file__).parent / "data" / "astronaut.png"
PHOTOS = Path(__file__).parents[3] / "shared" / "photos"

# The points of the 68-point scheme, as far as the 478 have them.
AS_68 = (
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, Landmarks]:
    """The cropped portrait [h, w, 3] and its landmarks."""
    return cropped(ASTRONAUT)


def cropped(path: Path, resolution: int = 256) -> tuple[np.ndarray, Landmarks]:
    photo = load_photo(path)
    landmarks = detect(photo, "opencv").landmarks
    crop = crop_to_box(photo, face_box(landmarks), resolution)
    return crop.srgb, landmarks.transformed(crop.photo_to_image)


def region_of(srgb: np.ndarray, landmarks: Landmarks) -> FaceRegion:
    return face_region(srgb.astype(np.float32), landmarks, (srgb >= 250 / 255).any(-1))


def at(mask: np.ndarray, point: np.ndarray) -> bool:
    return bool(mask[int(point[1]), int(point[0])])


def test_portrait(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    region = region_of(srgb, landmarks)
    points = landmarks.points
    assert region.oval.shape == region.skin.shape == srgb.shape[:2]
    assert not (region.skin & ~region.oval).any()
    assert 0.03 < region.covered_fraction < 0.2  # her fringe
    for index in (4, 50, 280, 199, 168, 107, 336, 0, 17):  # nose, cheeks, chin, glabella, brows, lips
        assert at(region.skin, points[index]), index
    for index in (13, 468, 473):  # the mouth's opening and the eyes
        assert not at(region.oval, points[index]), index
    for index in (10, 338, 109):  # hair over the forehead, just inside the outline
        inward = points[index] + 0.05 * (points[4] - points[index])
        assert at(region.oval, inward) and not at(region.skin, inward), index


def test_resolution_does_not_matter() -> None:
    one = region_of(*cropped(ASTRONAUT, 80))
    two = region_of(*cropped(ASTRONAUT, 160))
    assert one.covered_fraction == pytest.approx(two.covered_fraction, abs=0.06)


def test_sunglasses_are_left_out(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    glasses = np.zeros(srgb.shape[:2], np.uint8)
    span = landmarks.points[473] - landmarks.points[468]
    for eye in (468, 473):
        centre = np.round(landmarks.points[eye] + (0, 0.1 * span[0])).astype(int).tolist()
        cv2.ellipse(glasses, centre, (round(0.42 * span[0]), round(0.33 * span[0])), 0, 0, 360, 1, -1)
    worn = np.where(glasses[..., None] > 0, np.array([0.1, 0.12, 0.13]), srgb)
    region = region_of(worn, landmarks)
    lens = region.oval & (glasses > 0)
    assert (region.skin & lens).sum() < 0.1 * lens.sum()
    bare = region_of(srgb, landmarks).skin & (glasses == 0)
    assert (region.skin & bare).sum() > 0.93 * bare.sum()


def test_a_fringe_is_left_out(portrait: tuple[np.ndarray, Landmarks]) -> None:
    """A patch of her own hair laid over the forehead."""
    srgb, landmarks = portrait
    brows = landmarks.points[list(MEDIAPIPE.right_brow + MEDIAPIPE.left_brow)]
    top, bottom = int(landmarks.points[10, 1]), int(brows[:, 1].min())
    hair = cv2.resize(srgb[:14, 30:120], (srgb.shape[1], bottom - top + 8), interpolation=cv2.INTER_CUBIC)
    covered = srgb.copy()
    covered[top - 8 : bottom] = hair
    region = region_of(covered, landmarks)
    fringe = region.oval.copy()
    fringe[bottom:] = False
    assert fringe.sum() > 500
    assert (region.skin & fringe).sum() < 0.1 * fringe.sum()


def test_strands_of_the_colour_of_skin_are_left_out(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    cheek = srgb[tuple(landmarks.points[50, ::-1].astype(int))]
    bottom = int(landmarks.points[[65, 295], 1].min()) - 4
    stripes = np.where(np.arange(srgb.shape[1]) // 2 % 2, 0.75, 1.0)[None, :, None]
    covered = srgb.copy()
    covered[:bottom] = cheek * stripes
    region = region_of(covered, landmarks)
    strands = region.oval & face_zones(landmarks, *srgb.shape[:2]).forehead
    assert (region.skin & strands)[: bottom - 6].sum() < 0.1 * strands[: bottom - 6].sum()


@pytest.mark.parametrize("light", ["side", "hard", "hat", "blue", "none"])
def test_shading_is_not_mistaken_for_hair(portrait: tuple[np.ndarray, Landmarks], light: str) -> None:
    """Side light over five stops, hard shadows of three stops, a colour cast, no colour at all."""
    srgb, landmarks = portrait
    before = region_of(srgb, landmarks)
    linear = srgb_to_linear(srgb).astype(np.float64)
    x0, x1 = landmarks.points[:, 0].min(), landmarks.points[:, 0].max()
    across = (np.arange(srgb.shape[1]) - x0) / (x1 - x0)
    if light == "side":
        linear *= 2.0 ** (0.5 - 5 * across.clip(0, 1))[None, :, None]
    elif light == "hard":
        linear[:, across > 0.5] *= 0.125
    elif light == "hat":
        linear[: int(landmarks.points[[468, 473], 1].mean())] *= 0.125
    elif light == "blue":
        linear *= [0.5, 0.8, 1.2]
    else:
        linear = np.repeat(linear.mean(-1, keepdims=True), 3, -1)
    after = region_of(np.round(linear_to_srgb(linear).clip(0, 1) * 255) / 255, landmarks)
    assert (after.skin & before.skin).sum() > 0.85 * before.skin.sum()


def test_zones_of_both_schemes_agree(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    other = Landmarks("fan", landmarks.points[list(AS_68)])
    one, two = (face_zones(each, *srgb.shape[:2]) for each in (landmarks, other))
    for name in ("outline", "oval", "brows", "eyes", "certain", "lower"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a & b).sum() > 0.5 * (a | b).sum(), name
    region = region_of(srgb, other)
    assert region.covered_fraction < 0.3 and at(region.skin, landmarks.points[4])


def test_a_face_partly_or_wholly_outside_the_picture(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    half = srgb.shape[1] // 2
    assert region_of(srgb[:, :half], landmarks).skin.any()
    outside = landmarks.transformed(np.array([[1.0, 0, 5000], [0, 1, 0]]))
    assert not region_of(srgb, outside).oval.any() and region_of(srgb, outside).covered_fraction == 1.0


def test_colour_density() -> None:
    colours = np.random.default_rng(0).normal((60, 15, 20), 3, (5000, 3))
    density = ColourDensity.of(colours)
    assert density.table.sum() == pytest.approx(1)
    assert density.at(np.array([60.0, 15, 20])) > 100 * ColourDensity.UNIFORM
    assert density.at(np.array([[20.0, 0, 0], [200, 99, -99]])).max() < 1e-6
    assert ColourDensity.of(np.zeros((0, 3))).table.sum() == 0


def test_random_walk_solves_its_equations_and_stops_at_edges() -> None:
    rng = np.random.default_rng(0)
    prior, where = rng.random((20, 30)), np.ones((20, 30), bool)
    lab = np.zeros((20, 30, 3))
    flat = random_walk(lab, prior, where)
    assert flat.mean() == pytest.approx(prior.mean(), abs=1e-3)  # walkers neither vanish nor multiply
    assert flat.std() < 0.5 * prior.std()
    lab[:, 15:] = 50
    split = random_walk(lab, np.where(np.arange(30) < 15, 0.1, 0.9) * where, where)
    assert np.abs(split[:, :15] - 0.1).max() < 0.02 and np.abs(split[:, 15:] - 0.9).max() < 0.02
    where[:, 20:] = False
    assert not random_walk(lab, prior, where)[:, 20:].any()


def test_mask_file(tmp_path: Path) -> None:
    photo = Photo(tmp_path / "photo.png", np.zeros((30, 40, 3), np.float32), None)
    wanted = np.zeros((30, 40), np.uint8)
    wanted[5:20, 10:30] = 255
    Image.fromarray(wanted).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", photo), wanted > 0)
    Image.fromarray(wanted[1:]).save(tmp_path / "small.png")
    with pytest.raises(PhotoError, match=r"40 x 29.*40 x 30"):
        read_mask(tmp_path / "small.png", photo)
    Image.fromarray(wanted * 0).save(tmp_path / "black.png")
    with pytest.raises(PhotoError, match="all black"):
        read_mask(tmp_path / "black.png", photo)
    with pytest.raises(PhotoError, match="no mask"):
        read_mask(tmp_path / "missing.png", photo)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the development photos are not here")
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("man_beard_indoor", 0.0, 0.05),
        ("man_fringe", 0.12, 0.27),
        ("man_frontal_soft_light", 0.0, 0.05),
        ("man_goatee_outdoor", 0.0, 0.06),
        ("man_hair_on_brow", 0.03, 0.15),
        ("man_sunglasses", 0.1, 0.25),
        ("man_turned_down", 0.0, 0.08),
        ("woman_outdoor", 0.0, 0.1),
        ("woman_smile_teeth", 0.1, 0.25),
        ("woman_sun_side", 0.04, 0.2),
    ],
)
def test_development_photos(name: str, low: float, high: float) -> None:
    region = region_of(*cropped(PHOTOS / f"{name}.jpg"))
    assert low <= region.covered_fraction <= high


@pytest.mark.parametrize(("kept", "share"), [(512, 0.0), (222, 0.5)])
def test_a_cropped_face_is_not_called_covered(kept: int, share: float, tmp_path: Path) -> None:
    """The photo's right edge leaves all of the face, or half of it."""
    face = detect(load_photo(ASTRONAUT)).landmarks
    (tmp_path / "points.json").write_text(json.dumps({"detector": "mediapipe", "points": face.points.tolist()}))
    with Image.open(ASTRONAUT) as portrait:
        portrait.convert("RGB").crop((0, 0, kept, 512)).save(tmp_path / "photo.png")
    shot = prepare(tmp_path / "photo.png", Config(), tmp_path, "cpu", tmp_path / "points.json")
    assert share_outside(face, kept, 512) == pytest.approx(share, abs=0.1)
    assert any("outside the photo" in warning for warning in shot.warnings) == (share > 0)
    assert not any("covered" in warning for warning in shot.warnings)


def test_all_that_is_seen_of_the_head_is_visible(portrait: tuple[np.ndarray, Landmarks]) -> None:
    """Eyes and mouth are, hair and background are not."""
    srgb, landmarks = portrait
    region = region_of(srgb, landmarks)
    points = landmarks.points
    assert not (region.skin & ~region.visible).any()
    for index in (13, 468, 473, 159, 386, 145, 374):  # the mouth's opening, irises, lids
        assert at(region.visible, points[index]), index
    for corner in ((2, 2), (srgb.shape[1] - 3, 2)):
        assert not at(region.visible, np.array(corner))
    hair = points[10] - 0.1 * (points[4] - points[10])
    assert not at(region.visible, hair)


def test_eyes_behind_dark_glasses_are_not_visible(portrait: tuple[np.ndarray, Landmarks]) -> None:
    srgb, landmarks = portrait
    worn = srgb.copy()
    span = landmarks.points[473] - landmarks.points[468]
    for eye in (468, 473):
        centre = np.round(landmarks.points[eye] + (0, 0.1 * span[0])).astype(int).tolist()
        cv2.ellipse(
            worn, centre, (round(0.42 * span[0]), round(0.33 * span[0])), 0, 0, 360, (0.1, 0.12, 0.13), -1
        )
    region = region_of(worn, landmarks)
    for index in (468, 473):
        assert not at(region.visible, landmarks.points[index])
    assert at(region.visible, landmarks.points[13])


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the photos for development")
def test_a_forehead_is_visible_up_to_the_hair() -> None:
    """Beyond the landmarks' oval, and the neck too."""
    srgb, landmarks = cropped(PHOTOS / "man_goatee_outdoor.jpg")
    region = region_of(srgb, landmarks)
    top, chin = landmarks.points[10], landmarks.points[152]
    up = (top - chin) / np.linalg.norm(top - chin)
    size = np.sqrt(region.oval.sum())
    assert at(region.visible, top + 0.06 * size * up) and not at(region.oval, top + 0.06 * size * up)
    assert not at(region.visible, top + 0.3 * size * up), "hair"
    beyond = region.visible & ~region.oval
    assert beyond[int(chin[1]) :].sum() > 0.02 * region.oval.sum(), "the neck"
