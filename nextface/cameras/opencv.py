"""Calibrations as OpenCV writes them (YAML, XML or JSON of `cv2.FileStorage`).

OpenCV has no format for several cameras, so three are read:

- one camera (`camera_matrix`, `distortion_coefficients`, `image_width`, `image_height`), as its calibration
sample
  writes it: the lens of every photo;
- a stereo pair (`M1`, `D1`, `M2`, `D2` and, with places, `R`, `T`), as its stereo sample writes it: the first
and the
  second photo by name; `image_width` and `image_height` must be added;
- a list `cameras` of maps with the first's keys, and `name` (the photo's), and `R` (3 x 3, or 3 numbers of
Rodrigues)
  and `T`, world to camera, where places are known.

OpenCV counts pixels from the centre of the upper-left one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nextface.cameras.view import Place, View, Views, lens_of, rotation_of
from nextface.errors import CameraError
from nextface.photos.lens import HALF_A_PIXEL, Lens

LARGEST_FILE = 64 * 2**20  # bytes
MOST_CAMERAS = 10_000
MATRIX, DISTORTION = ("camera_matrix", "cameraMatrix", "K"), ("distortion_coefficients", "distCoeffs", "D")
KNOWN_DISTORTIONS = ("", "plumb_bob", "rational_polynomial")  # as ROS names them, where a file does
WIDTH, HEIGHT = ("image_width", "imageWidth", "width"), ("image_height", "imageHeight", "height")


def read_opencv(path: Path, photos: Sequence[Path]) -> Views:
    """The cameras in a file of OpenCV's.

    Parameters
    ----------
    photos: for a stereo pair, which does not name them.

    Raises
    ------
    CameraError: if the file cannot be read or has none of the three forms.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CameraError(f"{path} is larger than {LARGEST_FILE // 2**20} MB: no file of cameras is.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CameraError(f"{path}: the cameras cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise CameraError(f"{path}: this is not a text file in UTF-8.") from None
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = storage.root()
        found = _views(path, root, photos)
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise CameraError(f"{path} is no file of OpenCV's: {reason}") from None
    storage.release()
    return found


def _views(path: Path, root: cv2.FileNode, photos: Sequence[Path]) -> Views:
    listed = root.getNode("cameras")
    if listed.isSeq():
        if listed.size() > MOST_CAMERAS:
            raise CameraError(f"{path} lists {listed.size()} cameras; {MOST_CAMERAS} are the most.")
        views = []
        for number in range(listed.size()):
            node = listed.at(number)
            name = node.getNode("name").string() if node.isMap() else ""
            if not name:
                raise CameraError(f"{path}, camera {number} has no 'name', which is its photo's.")
            where = f"{path}, {name}"
            views.append(View(name, _lens(node, where), _place(node, where)))
        return Views(path, tuple(views))
    if not root.getNode("M1").empty():
        return _stereo_pair(path, root, photos)
    if (lens := _lens(root, str(path))) is None:
        raise CameraError(f"{path} has neither a list 'cameras' nor 'M1' and 'M2' nor a 'camera_matrix'.")
    return Views(path, (), lens)


def _stereo_pair(path: Path, root: cv2.FileNode, photos: Sequence[Path]) -> Views:
    if len(photos) != 2:
        raise CameraError(f"{path} is of two cameras, but there are {len(photos)} photos.")
    _no_fisheye(root, str(path))
    size = _size(root, str(path))
    lenses = [
        _made(size, _matrix(root, (f"M{n}",)), _matrix(root, (f"D{n}",)), f"{path}, M{n}") for n in (1, 2)
    ]
    second = _place(root, str(path))
    first = None if second is None else Place(np.eye(3), np.zeros(3))
    places = zip(photos, lenses, (first, second), strict=True)
    return Views(path, tuple(View(photo.name, lens, place) for photo, lens, place in places))


def _matrix(node: cv2.FileNode, names: Sequence[str]) -> NDArray[np.float64] | None:
    """A matrix, or a list of numbers, by the first of some names that is there."""
    for name in names:
        child = node.getNode(name)
        if child.empty():
            continue
        if child.isSeq():
            return np.array([child.at(number).real() for number in range(child.size())])
        return np.asarray(child.mat(), float)
    return None


def _size(node: cv2.FileNode, where: str) -> tuple[int, int]:
    sizes = []
    for names in (WIDTH, HEIGHT):
        given = [node.getNode(name) for name in names if not node.getNode(name).empty()]
        if not given or not given[0].isInt():
            raise CameraError(f"{where}: '{names[0]}' is missing: in which photos' pixels is this?")
        sizes.append(int(given[0].real()))
    return sizes[0], sizes[1]


def _lens(node: cv2.FileNode, where: str) -> Lens | None:
    _no_fisheye(node, where)
    matrix = _matrix(node, MATRIX)
    return None if matrix is None else _made(_size(node, where), matrix, _matrix(node, DISTORTION), where)


def _no_fisheye(node: cv2.FileNode, where: str) -> None:
    """Refuse what says to be bent otherwise: its coefficients are other ones, by the same names."""
    flag, named = node.getNode("fisheye_model"), node.getNode("distortion_model")
    model = named.string() if named.isString() else ""
    if flag.isInt() and flag.real():  # as OpenCV's calibration sample writes it
        model = "fisheye"
    if model not in KNOWN_DISTORTIONS:
        raise CameraError(
            f"{where}: cameras of the model {model} are not known. Straighten the photos first (for OpenCV's "
            "fisheyes with cv2.fisheye.undistortImage), and give the new matrix without distortion."
        )


def _made(
    size: tuple[int, int],
    matrix: NDArray[np.float64] | None,
    distortion: NDArray[np.float64] | None,
    where: str,
) -> Lens:
    if matrix is None or matrix.size != 9:
        raise CameraError(f"{where}: the camera's matrix is missing, or not 3 x 3.")
    coefficients = np.zeros(5) if distortion is None else distortion
    return lens_of(*size, matrix.reshape(3, 3) + HALF_A_PIXEL, coefficients, where)


def _place(node: cv2.FileNode, where: str) -> Place | None:
    turn, shift = _matrix(node, ("R", "rotation")), _matrix(node, ("T", "t", "translation"))
    if turn is None or shift is None:
        return None
    if shift.size != 3 or turn.size not in (3, 9) or not np.isfinite(shift).all():
        raise CameraError(f"{where}: 'R' must have 9 numbers, or 3 of Rodrigues, and 'T' 3.")
    matrix = turn.reshape(3, 3) if turn.size == 9 else cv2.Rodrigues(turn.reshape(3, 1))[0]
    return Place(rotation_of(np.asarray(matrix, float), where), shift.ravel())
