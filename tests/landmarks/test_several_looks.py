"""Points that several looks agree on, and the mirror images of points that they need."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import PORTRAIT

from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.landmarks import IBUG68, MEDIAPIPE, Landmarks
from nextface.landmarks.detection import detect
from nextface.landmarks.detection.blendshapes import mirrored_name
from nextface.landmarks.detection.opencv import OpenCVDetector
from nextface.landmarks.detection.several_looks import averaged, can_average
from nextface.models import create as create_model
from nextface.photos.photo import load_photo

PARTNER = list(MEDIAPIPE.mirror)


@pytest.fixture(scope="module")
def opencv() -> Iterator[OpenCVDetector]:
    with OpenCVDetector() as detector:
        yield detector


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """The bundled portrait around its face, sRGB [H, W, 3] uint8."""
    return np.round(load_photo(PORTRAIT).srgb[20:230, 120:330] * 255).astype(np.uint8)


def in_mirror(rgb: np.ndarray, face: Landmarks) -> tuple[np.ndarray, Landmarks]:
    """A picture seen in a mirror, and the face in it."""
    seen = face.transformed(np.array([[-1.0, 0.0, rgb.shape[1]], [0.0, 1.0, 0.0]]))
    return np.ascontiguousarray(rgb[:, ::-1]), Landmarks(seen.detector, seen.points[PARTNER])


def distance(one: Landmarks, other: Landmarks) -> float:
    """Mean distance of points, over that of the outer corners of the eyes."""
    corners = one.points[[MEDIAPIPE.right_eye[0], MEDIAPIPE.left_eye[0]]]
    away = np.linalg.norm(one.points - other.points, axis=1).mean()
    return float(away / np.linalg.norm(corners[0] - corners[1]))


def test_every_point_has_the_mirror_image_that_geometry_gives_it() -> None:
    """On the mean head, partners are mirror images to the precision with which landmarks are placed on it."""
    assert [PARTNER[partner] for partner in PARTNER] == list(range(MEDIAPIPE.count))
    for right, left in (("right_eye", "left_eye"), ("right_brow", "left_brow"), ("right_iris", "left_iris")):
        assert {PARTNER[point] for point in getattr(MEDIAPIPE, right)} == set(getattr(MEDIAPIPE, left))
    backwards = [PARTNER[point] for point in MEDIAPIPE.contour]
    assert backwards == [MEDIAPIPE.contour[0], *MEDIAPIPE.contour[:0:-1]]
    model = create_model("open")
    embedding = model.landmarks("mediapipe")
    assert embedding is not None and embedding.indices.tolist() == list(range(MEDIAPIPE.count))
    places = landmark_points(model.mean[None], model, embedding)[0]
    away = (places[PARTNER] * torch.tensor([-1.0, 1.0, 1.0]) - places).norm(dim=1)
    assert float(away.median()) < 0.5 and float((away < 4).float().mean()) > 0.97  # mm


def test_names_of_expressions_in_a_mirror() -> None:
    names = ("eyeBlinkLeft", "mouthRight", "jawOpen")
    assert [mirrored_name(name) for name in names] == ["eyeBlinkRight", "mouthLeft", "jawOpen"]


def test_a_face_and_its_mirror_image_have_the_same_points(opencv: OpenCVDetector, portrait: np.ndarray) -> None:
    """One look at each differs by more than twice as much as the means of several do."""
    single = opencv.detect(portrait)[0]
    mirrored, expected = in_mirror(portrait, single)
    single_there = in_mirror(mirrored, opencv.detect(mirrored)[0])[1]
    here, there = averaged(opencv, portrait, single), averaged(opencv, mirrored, expected)
    assert here is not None and there is not None
    assert distance(here, in_mirror(mirrored, there)[1]) < 0.5 * distance(single, single_there)
    assert distance(here, single) < 0.03
    for name, score in here.blendshapes.items():
        assert there.blendshapes[mirrored_name(name)] == pytest.approx(score, abs=0.1)


def test_points_stay_where_they_are_when_the_picture_moves(
    opencv: OpenCVDetector, portrait: np.ndarray
) -> None:
    """Crops that differ by some pixels: single looks scatter more than twice as much as means do."""
    singles, means = [], []
    for left, top, size in ((0, 0, 200), (7, 3, 203), (3, 9, 195)):
        crop = np.ascontiguousarray(portrait[top : top + size, left : left + size])
        back = np.array([[1.0, 0.0, left], [0.0, 1.0, top]])
        found = opencv.detect(crop)[0]
        several = averaged(opencv, crop, found)
        assert several is not None
        singles.append(found.transformed(back))
        means.append(several.transformed(back))
    scatter, of_means = (
        max(distance(one, other) for one in some for other in some) for some in (singles, means)
    )
    assert of_means < 0.5 * scatter
    assert of_means < 0.005


def test_where_no_face_is_none_is_seen(opencv: OpenCVDetector, portrait: np.ndarray) -> None:
    face = opencv.detect(portrait)[0]
    assert averaged(opencv, np.full_like(portrait, 128), face) is None
    elsewhere = face.transformed(np.array([[1.0, 0.0, 120.0], [0.0, 1.0, 90.0]]))
    assert averaged(opencv, portrait, elsewhere) is None


def test_detection_is_what_several_looks_agree_on(opencv: OpenCVDetector) -> None:
    photo = load_photo(PORTRAIT)
    found = detect(photo, "opencv")
    rgb = np.round(photo.srgb * 255).astype(np.uint8)
    several = averaged(opencv, rgb, found.faces[0])
    assert several is not None
    assert np.allclose(found.landmarks.points, several.points, atol=1e-6)
    assert 0 < distance(found.landmarks, found.faces[0]) < 0.03


def test_other_schemes_are_looked_at_once() -> None:
    assert not can_average(Landmarks("fan", np.zeros((IBUG68.count, 2))))
