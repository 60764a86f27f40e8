"""Files of cameras, against the programs that write and read them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

from nextface.cameras.colmap import write_colmap
from nextface.cameras.reading import read_cameras
from nextface.cameras.transforms import write_transforms
from nextface.cameras.view import Place, View
from nextface.errors import CameraError, NextFaceError
from nextface.photos.lens import Lens

POINTS = np.array([[0.1, 0.2, 5.0], [-0.4, 0.3, 6.0], [0.5, -0.6, 4.5]])  # in the world
TURN = Rotation.from_euler("xyz", [10, -20, 30], degrees=True)
SHIFT = np.array([0.3, -0.2, 1.5])
MATRIX = np.array([[500.0, 0, 310.0], [0, 505.0, 235.0], [0, 0, 1]])
BENT = np.array([0.1, -0.05, 0.001, -0.002, 0.01])
PHOTOS = [Path("a.png"), Path("b.png")]


def views(distortion: np.ndarray = BENT) -> list[View]:
    lens = Lens(640, 480, MATRIX, distortion)
    return [
        View("a.png", lens, Place(np.eye(3), np.zeros(3))),
        View("b.png", lens, Place(TURN.as_matrix(), SHIFT)),
    ]


def seen(view: View, points: np.ndarray = POINTS) -> np.ndarray:
    """Where a view's camera sees points of the world, pixels [P, 2]."""
    assert view.lens is not None and view.place is not None
    camera = points @ view.place.rotation.T + view.place.translation
    pixels = camera @ view.lens.matrix.T
    return view.lens.distorted(pixels[:, :2] / pixels[:, 2:])


def assert_same(found: View, truth: View) -> None:
    assert (found.name, found.lens.width, found.lens.height) == (truth.name, 640, 480)
    np.testing.assert_allclose(seen(found), seen(truth), atol=1e-6)


RATIONAL = np.append(BENT, [0.02, -0.01, 0.003])


@pytest.mark.parametrize("distortion", [np.zeros(5), np.append(BENT[:4], 0), BENT, RATIONAL])
def test_what_is_written_for_colmap_colmap_projects_alike(tmp_path: Path, distortion: np.ndarray) -> None:
    write_colmap(views(distortion), tmp_path)
    model = pycolmap.Reconstruction(str(tmp_path))
    images = {image.name: image for image in model.images.values()}
    for view in views(distortion):
        image = images[view.name]
        projected = [image.camera.img_from_cam(image.cam_from_world() * point) for point in POINTS]
        np.testing.assert_allclose(np.array(projected).reshape(-1, 2), seen(view), atol=1e-6)


@pytest.mark.parametrize("binary", [False, True])
def test_colmap_models_are_read(tmp_path: Path, binary: bool) -> None:
    folder = tmp_path / "sparse" / "0"
    write_colmap(views(), folder)
    if binary:
        model = pycolmap.Reconstruction(str(folder))
        for file in folder.iterdir():
            file.unlink()
        model.write_binary(str(folder))
    found = read_cameras(tmp_path, PHOTOS)
    for one, truth in zip(found.views, views(), strict=True):
        assert_same(one, truth)


def test_transforms_come_back(tmp_path: Path) -> None:
    path = tmp_path / "transforms.json"
    write_transforms(views(), path, metric=True)
    for one, truth in zip(read_cameras(path, PHOTOS).views, views(), strict=True):
        assert_same(one, truth)


def test_the_axes_of_transforms_are_opengl_s(tmp_path: Path) -> None:
    """A camera 2 above the world's origin that looks along -y, its top towards -z, as OpenGL says it."""
    pose = np.array([[1, 0, 0, 0], [0, 0, 1, 2.0], [0, -1, 0, 0], [0, 0, 0, 1]])
    content = {
        "camera_angle_x": math.pi / 2,
        "w": 200,
        "h": 100,
        "frames": [{"file_path": "images/a.png", "transform_matrix": pose.tolist()}],
    }
    (tmp_path / "t.json").write_text(json.dumps(content))
    found = read_cameras(tmp_path / "t.json", PHOTOS).of(Path("x/a.jpg"))
    assert found is not None
    below, right, towards_top = [0, 0, 0], [0.5, 0, 0], [0, 0, -0.5]
    places = seen(found, np.array([below, right, towards_top], float))
    np.testing.assert_allclose(places, [[100, 50], [125, 50], [100, 25]], atol=1e-9)


def of_opencv(path: Path, places: bool, vector: bool = False) -> None:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.startWriteStruct("cameras", cv2.FileNode_SEQ)
    for view in views():
        storage.startWriteStruct("", cv2.FileNode_MAP)
        storage.write("name", view.name)
        storage.write("image_width", 640)
        storage.write("image_height", 480)
        storage.write("camera_matrix", MATRIX - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        storage.write("distortion_coefficients", BENT)
        if places:
            assert view.place is not None
            turn = view.place.rotation
            storage.write("R", Rotation.from_matrix(turn).as_rotvec() if vector else turn)
            storage.write("T", view.place.translation)
        storage.endWriteStruct()
    storage.endWriteStruct()
    storage.release()


@pytest.mark.parametrize("name", ["cameras.yml", "cameras.json", "cameras.xml"])
def test_files_of_opencv_are_read(tmp_path: Path, name: str) -> None:
    of_opencv(tmp_path / name, places=True, vector=name.endswith("json"))
    for one, truth in zip(read_cameras(tmp_path / name, PHOTOS).views, views(), strict=True):
        assert_same(one, truth)
        turn, shift = cv2.Rodrigues(truth.place.rotation)[0], truth.place.translation
        expected, _ = cv2.projectPoints(POINTS, turn, shift, MATRIX - [[0, 0, 0.5], [0, 0, 0.5], [0] * 3], BENT)
        np.testing.assert_allclose(seen(one), expected[:, 0] + 0.5, atol=1e-6)  # OpenCV counts from centres


def test_a_calibration_of_opencv_s_sample_is_of_all_photos(tmp_path: Path) -> None:
    storage = cv2.FileStorage(str(tmp_path / "c.yml"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", MATRIX)
    storage.write("distortion_coefficients", BENT)
    storage.release()
    found = read_cameras(tmp_path / "c.yml", PHOTOS).for_photos(PHOTOS)
    assert [view.place for view in found.values()] == [None, None]
    np.testing.assert_array_equal(found[PHOTOS[1]].lens.matrix[:2, 2], MATRIX[:2, 2] + 0.5)


def test_a_stereo_pair_is_the_first_photo_and_the_second(tmp_path: Path) -> None:
    storage = cv2.FileStorage(str(tmp_path / "stereo.yml"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    for number in "12":
        storage.write(f"M{number}", MATRIX - [[0, 0, 0.5], [0, 0, 0.5], [0] * 3])
        storage.write(f"D{number}", BENT)
    storage.write("R", TURN.as_matrix())
    storage.write("T", SHIFT)
    storage.release()
    for one, truth in zip(read_cameras(tmp_path / "stereo.yml", PHOTOS).views, views(), strict=True):
        assert_same(one, truth)
    with pytest.raises(CameraError, match="two cameras, but there are 3 photos"):
        read_cameras(tmp_path / "stereo.yml", [*PHOTOS, Path("c.png")])


FISHEYE = "1 OPENCV_FISHEYE 640 480 500 500 320 240 0 0 0 0\n"
WRONG = {  # name: (text of a file, what is said)
    "none.json": ("[1, 2]", "no JSON object"),
    "cut.json": ('{"frames": [', "not JSON"),
    "frames.json": ('{"frames": 3}', "no list 'frames'"),
    "name.json": ('{"frames": [{}]}', "file_path"),
    "size.json": ('{"fl_x": 5, "frames": [{"file_path": "a"}]}', "'w' and 'h'"),
    "word.json": ('{"fl_x": "long", "w": 6, "h": 4, "frames": [{"file_path": "a"}]}', "expected a number"),
    "kind.json": ('{"camera_model": "OPENCV_FISHEYE", "frames": [{"file_path": "a"}]}', "not known"),
    "flag.json": ('{"is_fisheye": true, "frames": [{"file_path": "a"}]}', "'fisheye' are not known"),
    "fish.yml": ("%YAML:1.0\n---\nfisheye_model: 1\ncamera_matrix: []\n", "fisheye are not known.*undistort"),
    "ros.yml": ("%YAML:1.0\n---\ndistortion_model: equidistant\n", "equidistant are not known"),
    "pose.json": ('{"frames": [{"file_path": "a", "transform_matrix": [[1]]}]}', "4 x 4"),
    "nan.json": (
        '{"frames": [{"file_path": "a", "transform_matrix": [[NaN,0,0,0],[0,1,0,0],[0,0,1,0]]}]}',
        "finite",
    ),
    "mirror.json": (
        '{"frames": [{"file_path": "a", "transform_matrix": [[-1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}',
        "no rotation",
    ),
    "bad.yml": ("a: [", "no file of OpenCV's"),
    "empty.yml": ("%YAML:1.0\n---\na: 1\n", "neither a list"),
    "nameless.yml": ("%YAML:1.0\n---\ncameras:\n   - { a: 1 }\n", "no 'name'"),
    "cameras.csv": ("a,b", "cameras are a folder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, name: str) -> None:
    text, said = WRONG[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(CameraError, match=said):
        read_cameras(tmp_path / name, PHOTOS)


def test_a_wrong_colmap_model_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no COLMAP model"):
        read_cameras(tmp_path, PHOTOS)
    with pytest.raises(CameraError, match="There is no file"):
        read_cameras(tmp_path / "missing", PHOTOS)
    write_colmap(views(), tmp_path)
    (tmp_path / "cameras.txt").write_text(FISHEYE + FISHEYE.replace("1 ", "2 ", 1))
    with pytest.raises(CameraError, match=r"OPENCV_FISHEYE are not known.*image_undistorter"):
        read_cameras(tmp_path, PHOTOS)
    (tmp_path / "cameras.txt").write_text("1 BOGUS 640 480 500\n")
    with pytest.raises(CameraError, match="cannot be read"):
        read_cameras(tmp_path, PHOTOS)
    (tmp_path / "images.txt").write_text("")
    write_colmap([], tmp_path)
    with pytest.raises(CameraError, match="no registered image"):
        read_cameras(tmp_path, PHOTOS)


def test_cameras_of_other_photos_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "transforms.json"
    write_transforms(views(), path, metric=False)
    found = read_cameras(path, PHOTOS)
    assert list(found.for_photos([*PHOTOS, Path("c.png")])) == PHOTOS
    with pytest.raises(CameraError, match=r"belong to other photos.*names a\.png, b\.png; these are x\.png"):
        found.for_photos([Path("x.png")])
    write_transforms([View(f"{folder}/a.png", *_rest(views()[0])) for folder in "pq"], path, metric=False)
    with pytest.raises(NextFaceError, match=r"2 cameras for a\.png: p/a\.png, q/a\.png"):
        read_cameras(path, PHOTOS).for_photos(PHOTOS)


def _rest(view: View) -> tuple[Lens | None, Place | None]:
    return view.lens, view.place
