"""Landmark detection by both routes, face search, choosing a face, and landmark files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import nextface
from nextface.errors import ConfigError, FaceNotFoundError, MissingPartError
from nextface.landmarks import IBUG68, MEDIAPIPE, Landmarks, face_box, face_width, read_landmarks
from nextface.landmarks.detection import blendshapes, detect, detector_status, faces
from nextface.landmarks.detection.opencv import OpenCVDetector
from nextface.landmarks.points import outline_box
from nextface.photos.photo import Photo, load_photo

ASTRONAUT = Path(nextface.__file__).parent / "data" / "astronaut.png"
MEDIAPIPE_STARTS = detector_status()["mediapipe"] is None
needs_mediapipe = pytest.mark.skipif(not MEDIAPIPE_STARTS, reason="mediapipe does not start here")


@pytest.fixture(scope="module")
def astronaut() -> Photo:
    return load_photo(ASTRONAUT)


@pytest.fixture(scope="module")
def opencv() -> Iterator[OpenCVDetector]:
    with OpenCVDetector() as detector:
        yield detector


def photo_of(rgb: np.ndarray) -> Photo:
    return Photo(Path("group.png"), (rgb / 255).astype(np.float32), None)


def pixels(photo: Photo) -> np.ndarray:
    return np.round(photo.srgb * 255).astype(np.uint8)


def eye_distance(landmarks: Landmarks) -> float:
    return float(
        np.linalg.norm(landmarks.points[MEDIAPIPE.right_iris[0]] - landmarks.points[MEDIAPIPE.left_iris[0]])
    )


def test_face_of_the_astronaut(astronaut: Photo) -> None:
    found = detect(astronaut)
    face = found.landmarks
    assert face.detector == "mediapipe" and face.points.shape == (478, 2) and face.depth.shape == (478,)
    assert len(found.faces) == 1
    assert (
        len(face.blendshapes) == 51 and face.blendshapes["mouthSmileLeft"] > 0.5 > face.blendshapes["jawOpen"]
    )
    pupils = face.points[[MEDIAPIPE.right_iris[0], MEDIAPIPE.left_iris[0]]]
    assert np.allclose(pupils, [(203.8, 101.3), (246.8, 103.6)], atol=1.0)  # read off the enlarged picture
    x0, y0, x1, y1 = face_box(face)
    assert x1 - x0 == pytest.approx(y1 - y0) and x0 < 180 and x1 > 270 and y0 < 60 and y1 > 190


@needs_mediapipe
def test_both_routes_agree(astronaut: Photo) -> None:
    ours, theirs = detect(astronaut, "opencv").landmarks, detect(astronaut, "mediapipe").landmarks
    distance = np.linalg.norm(ours.points - theirs.points, axis=1) / eye_distance(theirs)
    assert distance.mean() < 0.005 and distance.max() < 0.01
    assert np.abs(ours.depth - theirs.depth).max() / eye_distance(theirs) < 0.02
    assert list(ours.blendshapes) == list(theirs.blendshapes)
    assert max(abs(ours.blendshapes[name] - theirs.blendshapes[name]) for name in theirs.blendshapes) < 0.03


@needs_mediapipe
def test_both_routes_agree_on_a_tilted_face(astronaut: Photo) -> None:
    turn = cv2.getRotationMatrix2D((225, 120), 35, 1.0)
    photo = photo_of(cv2.warpAffine(pixels(astronaut), turn, (512, 400)))
    ours, theirs = detect(photo, "opencv").landmarks, detect(photo, "mediapipe").landmarks
    distance = np.linalg.norm(ours.points - theirs.points, axis=1) / eye_distance(theirs)
    assert distance.mean() < 0.01


@pytest.mark.parametrize("detector", ["opencv", pytest.param("mediapipe", marks=needs_mediapipe)])
def test_detection_is_deterministic(astronaut: Photo, detector: str) -> None:
    one, two = detect(astronaut, detector).landmarks, detect(astronaut, detector).landmarks
    assert np.array_equal(one.points, two.points) and dict(one.blendshapes) == dict(two.blendshapes)


@needs_mediapipe
def test_mediapipe_writes_nothing_on_the_terminal(astronaut: Photo, capfd: pytest.CaptureFixture) -> None:
    detect(astronaut)
    captured = capfd.readouterr()
    assert not captured.out and not captured.err


def test_without_mediapipe_the_same_networks_run_in_opencv(
    astronaut: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    found = detect(astronaut)
    assert "OpenCV" in found.notes[0]
    assert np.array_equal(found.landmarks.points, detect(astronaut, "opencv").landmarks.points)
    status = detector_status()
    assert status["opencv"] is None and "pip install --no-deps mediapipe certifi" in status["mediapipe"]


@needs_mediapipe
@pytest.mark.skipif(sys.platform != "linux", reason="how Linux looks for libraries")
def test_without_libegl_the_same_networks_run_in_opencv(tmp_path: Path) -> None:
    """Empty files that the loader meets first stand in for a machine without libEGL and libGLESv2."""
    for name in ("libEGL.so.1", "libGLESv2.so.2"):
        (tmp_path / name).touch()
    script = (
        "from nextface.landmarks.detection import detect, detector_status;"
        "from nextface.photos.photo import load_photo;"
        f"found = detect(load_photo({str(ASTRONAUT)!r}));"
        "print(len(found.faces), found.notes, detector_status()['mediapipe'])"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert (
        done.stdout.startswith("1 ")
        and "OpenCV" in done.stdout
        and "libegl1" in done.stdout
        and not done.stderr
    )


@pytest.mark.skipif(
    importlib.util.find_spec("face_alignment") is not None, reason="face-alignment is installed"
)
def test_fan_without_its_package(astronaut: Photo) -> None:
    with pytest.raises(MissingPartError, match="pip install --no-deps face-alignment"):
        detect(astronaut, "fan")


def test_unknown_detector(astronaut: Photo) -> None:
    with pytest.raises(ConfigError, match="mediapipe, opencv or fan"):
        detect(astronaut, "dlib")


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="mediapipe is not installed")
def test_topology_is_mediapipes() -> None:
    from mediapipe.tasks.python.vision import FaceLandmarksConnections as Published

    def edges(*loops: tuple[int, ...]) -> set[frozenset[int]]:
        return {frozenset(pair) for loop in loops for pair in zip(loop, loop[1:] + loop[:1], strict=True)}

    def published(connections: list) -> set[frozenset[int]]:
        return {frozenset((connection.start, connection.end)) for connection in connections}

    assert edges(MEDIAPIPE.contour) == published(Published.FACE_LANDMARKS_FACE_OVAL)
    assert edges(MEDIAPIPE.right_eye) == published(Published.FACE_LANDMARKS_RIGHT_EYE)
    assert edges(MEDIAPIPE.left_eye) == published(Published.FACE_LANDMARKS_LEFT_EYE)
    assert edges(MEDIAPIPE.lips_outer, MEDIAPIPE.lips_inner) == published(Published.FACE_LANDMARKS_LIPS)
    assert edges(MEDIAPIPE.right_iris[1:]) == published(Published.FACE_LANDMARKS_RIGHT_IRIS)
    assert edges(MEDIAPIPE.left_iris[1:]) == published(Published.FACE_LANDMARKS_LEFT_IRIS)
    for group, name in (("right_brow", "RIGHT_EYEBROW"), ("left_brow", "LEFT_EYEBROW"), ("nose", "NOSE")):
        pairs = published(getattr(Published, f"FACE_LANDMARKS_{name}"))
        assert set(getattr(MEDIAPIPE, group)) == set().union(*pairs)


def test_topology_fits_the_points(astronaut: Photo) -> None:
    points = detect(astronaut).landmarks.points
    for iris, eye in ((MEDIAPIPE.right_iris, MEDIAPIPE.right_eye), (MEDIAPIPE.left_iris, MEDIAPIPE.left_eye)):
        assert np.allclose(points[iris[0]], points[list(iris[1:])].mean(0), atol=0.5)
        assert (
            cv2.pointPolygonTest(
                points[list(eye)].astype(np.float32), tuple(map(float, points[iris[0]])), False
            )
            > 0
        )
    assert points[MEDIAPIPE.chin, 1] == points[:, 1].max()
    assert len(blendshapes.INPUT_POINTS) == 146 and len(blendshapes.NAMES) == 52
    assert sorted({*IBUG68.contour, *IBUG68.right_brow, *IBUG68.left_brow, *IBUG68.nose, *IBUG68.right_eye,
                   *IBUG68.left_eye, *IBUG68.lips_outer, *IBUG68.lips_inner}) == list(range(68))  # fmt: skip


def test_several_faces(astronaut: Photo, tmp_path: Path) -> None:
    head = pixels(astronaut)[0:256, 96:352]
    canvas = np.full((300, 620, 3), 128, np.uint8)
    canvas[20:276, 340:596] = head
    canvas[60:240, 40:220] = cv2.resize(head, (180, 180), interpolation=cv2.INTER_AREA)
    photo, saved = photo_of(canvas), tmp_path / "new folder" / "searched.png"
    found = detect(photo, searched_path=saved)
    assert len(found.faces) == 2
    assert np.abs(found.landmarks.points - found.faces[0].points).mean() < 0.02 * face_width(found.faces[0])
    assert face_width(found.faces[0]) > face_width(found.faces[1])
    assert found.landmarks.points[:, 0].min() > 340
    assert "2 faces" in found.notes[-1] and "--face" in found.notes[-1] and str(saved) in found.notes[-1]
    assert cv2.imread(str(saved)).shape == canvas.shape
    second = detect(photo, face=1)
    assert second.landmarks.points[:, 0].max() < 220 and not any("--face" in note for note in second.notes)
    with pytest.raises(FaceNotFoundError, match=r"no face 2.*2 found"):
        detect(photo, face=2)


def test_small_face_in_a_large_photo(opencv: OpenCVDetector, astronaut: Photo) -> None:
    """A face of 4 % of the width, which the detector misses in the whole picture."""
    rng = np.random.default_rng(0)
    canvas = cv2.resize(
        rng.integers(60, 160, (22, 30, 3), dtype=np.uint8), (2400, 1760), interpolation=cv2.INTER_CUBIC
    )
    head = pixels(astronaut)[0:256, 96:352]
    canvas[1100:1356, 1830:2086] = head
    assert not opencv.detect(canvas)
    found = detect(photo_of(canvas))
    assert len(found.faces) == 1
    expected = detect(photo_of(head)).landmarks.points + np.array([1830, 1100])
    assert np.abs(found.landmarks.points - expected).max() < 4


def test_no_face_and_a_face_too_small(astronaut: Photo, tmp_path: Path) -> None:
    with pytest.raises(FaceNotFoundError, match=r"No face.*searched\.png"):
        detect(photo_of(np.full((400, 700, 3), 90, np.uint8)), searched_path=tmp_path / "searched.png")
    assert cv2.imread(str(tmp_path / "searched.png")).shape == (400, 700, 3)
    small = cv2.resize(pixels(astronaut), (200, 200), interpolation=cv2.INTER_AREA)
    with pytest.raises(FaceNotFoundError, match=r"3\d pixels wide; at least 48"):
        detect(photo_of(small))
    with pytest.raises(FaceNotFoundError, match="No face"):
        detect(photo_of(np.zeros((1, 1, 3), np.uint8)))


def test_transformed(astronaut: Photo) -> None:
    face = detect(astronaut).landmarks
    moved = face.transformed(np.array([[0.5, 0, 3], [0, 0.5, -7]]))
    assert np.allclose(moved.points, face.points * 0.5 + (3, -7)) and np.allclose(moved.depth, face.depth * 0.5)
    assert moved.blendshapes == face.blendshapes and face_width(moved) == pytest.approx(face_width(face) / 2)


def test_landmark_file(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(20, 400, (68, 2)).round(2)
    path = tmp_path / "points.json"
    path.write_text(json.dumps({"detector": "fan", "points": points.tolist()}))
    face = read_landmarks(path)
    assert face.detector == "fan" and np.array_equal(face.points, points)
    assert face.depth is None and not face.blendshapes
    x0, y0, x1, y1 = outline_box(face)
    assert x0 < x1 and y0 < y1


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ("{", "not JSON"),
        ("[" * 100000, "not JSON"),
        ("[1, 2]", 'no "points"'),
        ('{"points": []}', "detector"),
        ('{"detector": ["fan"], "points": []}', "detector"),
        ('{"detector": "fan", "points": 3}', "not a list"),
        ('{"detector": "fan", "points": [[1, 2], [3]]}', "point 1"),
        ('{"detector": "fan", "points": [[1, "2"]]}', "point 0"),
        ('{"detector": "fan", "points": [[1, NaN]]}', "point 0"),
        ('{"detector": "fan", "points": [[true, 1e400]]}', "point 0"),
        ('{"detector": "fan", "points": [[1, 2]]}', "1 points; fan has 68"),
        (json.dumps({"detector": "fan", "points": [[5, 5]] * 68}), "one place"),
        (" " * 1_100_000, "larger"),
    ],
)
def test_wrong_landmark_files(tmp_path: Path, content: str, pattern: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=pattern) as caught:
        read_landmarks(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_landmarks(tmp_path / "missing.json")


def test_started_detectors_serve_many_photos(astronaut: Photo, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are started once, see the same as one that is started for each photo, and can be started again."""
    starts = []
    start = faces._start
    monkeypatch.setattr(faces, "_start", lambda name: starts.append(name) or start(name))  # type: ignore[func-returns-value]
    alone = detect(astronaut, "opencv").landmarks.points
    flipped = photo_of(pixels(astronaut)[:, ::-1])
    detectors = faces.Detectors()
    seen = [detect(photo, "opencv", detectors=detectors) for photo in (astronaut, flipped, astronaut)]
    assert starts == ["opencv", "opencv"]
    assert np.array_equal(seen[0].landmarks.points, alone) and np.array_equal(seen[2].landmarks.points, alone)
    detectors.close()
    assert np.array_equal(detect(astronaut, "opencv", detectors=detectors).landmarks.points, alone)
    detectors.close()
    assert len(starts) == 3


@needs_mediapipe
def test_one_mediapipe_sees_the_same_in_every_photo(astronaut: Photo) -> None:
    detectors = faces.Detectors()
    alone = detect(astronaut).landmarks.points
    flipped = photo_of(pixels(astronaut)[:, ::-1])
    for photo in (astronaut, flipped, astronaut):
        seen = detect(photo, detectors=detectors).landmarks.points
    assert np.array_equal(seen, alone)
    detectors.close()
