"""`transforms.json`, as radiance fields have it: intrinsics, and a camera-to-world matrix for each photo.

Its camera frame is OpenGL's: x right, y up, z backwards; (0, 0) is the corner of the upper-left pixel.
Intrinsics stand at the top for all photos, or in the frame of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextface.cameras.view import Place, View, Views, lens_of, rotation_of
from nextface.errors import CameraError
from nextface.photos.lens import Lens
from nextface.system.atomic import replacing

TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # from OpenGL's camera frame, and back
STRAIGHT = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV", "PERSPECTIVE")
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
LARGEST_FILE = 64 * 2**20  # bytes: a hundred thousand photos
CONVENTION = (
    "transform_matrix: camera to world, OpenGL's camera axes (x right, y up, z backwards); the world is the "
    "head: "
    "x to the subject's left, y up, z out of the face, mm. Pixels count from the upper-left pixel's corner."
)


def read_transforms(path: Path) -> Views:
    """The cameras in a transforms.json.

    Raises
    ------
    CameraError: if the file cannot be read, is none, or has cameras of a kind that is not known.
    """
    content = read_json(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise CameraError(f"{path} has no list 'frames': this is no transforms.json.")
    views = []
    for number, frame in enumerate(frames):
        name, where = frame.get("file_path"), f"{path}, frame {number}"
        if not isinstance(name, str) or not name:
            raise CameraError(f"{where} has no 'file_path', which names its photo.")
        lens = _lens({**content, **frame}, where)
        views.append(View(name.replace("\\", "/"), lens, _place(frame.get("transform_matrix"), where)))
    return Views(path, tuple(views))


def write_transforms(views: Sequence[View], path: Path, metric: bool) -> None:
    """Write views whose world is the head as transforms.json, without matrices where places are not known.

    Parameters
    ----------
    metric: whether the cameras were measured; else the millimetres are those of the face model's size.
    """
    frames = []
    for view in views:
        assert view.lens is not None
        lens, placed = view.lens, {}
        if view.place is not None:
            pose = np.eye(4)
            pose[:3, :3] = view.place.rotation.T @ TO_OPENCV
            pose[:3, 3] = view.place.centre
            placed["transform_matrix"] = pose.tolist()
        frames.append(
            {
                "file_path": view.name,
                "w": lens.width,
                "h": lens.height,
                "fl_x": lens.matrix[0, 0],
                "fl_y": lens.matrix[1, 1],
                "cx": lens.matrix[0, 2],
                "cy": lens.matrix[1, 2],
                **dict(zip(COEFFICIENTS, lens.distortion.tolist(), strict=False)),
                **placed,
            }
        )
    content = {
        "convention": CONVENTION,
        "unit": "mm",
        "metric": metric,
        "camera_model": "OPENCV",
        "frames": frames,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file of a size that such files have.

    Raises
    ------
    CameraError: if there is none.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CameraError(f"{path} is larger than {LARGEST_FILE // 2**20} MB: no file of cameras is.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: the cameras cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise CameraError(f"{path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise CameraError(f"{path} has no JSON object in it.")
    return content


def _number(values: Mapping[str, Any], name: str, where: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CameraError(f"{where}: '{name}' is {value!r}; expected a number.")
    return float(value)


def _lens(values: Mapping[str, Any], where: str) -> Lens | None:
    """The lens that a frame tells, or the file for all frames; None where nothing tells one."""
    model = "fisheye" if values.get("is_fisheye") is True else values.get("camera_model", "OPENCV")
    if model not in STRAIGHT:
        raise CameraError(
            f"{where}: cameras of the model {model!r} are not known; these are: {', '.join(STRAIGHT)}. "
            f"Straighten "
            "the photos first."
        )
    width, height, across, down, cx, cy, angle = (
        _number(values, name, where) for name in ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x")
    )
    if across is None and angle is None:
        return None
    if width is None or height is None:
        raise CameraError(f"{where}: a focal length without 'w' and 'h', the photo's size, says nothing.")
    if across is None:
        assert angle is not None
        if not 0 < angle < math.pi:
            raise CameraError(f"{where}: no camera has camera_angle_x = {angle} radians.")
        across = width / 2 / math.tan(angle / 2)
    matrix = np.array(
        [
            [across, 0, width / 2 if cx is None else cx],
            [0, across if down is None else down, height / 2 if cy is None else cy],
            [0, 0, 1.0],
        ]
    )
    told = [_number(values, name, where) or 0.0 for name in COEFFICIENTS]
    return lens_of(int(width), int(height), matrix, told if any(told[5:]) else told[:5], where)


def _place(matrix: Any, where: str) -> Place | None:
    """Where a camera-to-world matrix puts a camera; None where there is none."""
    if matrix is None:
        return None
    try:
        pose = np.array(matrix, float)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape not in ((3, 4), (4, 4)) or not np.isfinite(pose).all():
        raise CameraError(f"{where}: 'transform_matrix' is not 4 x 4 finite numbers.")
    rotation = rotation_of(pose[:3, :3] @ TO_OPENCV, where).T
    return Place(rotation, -rotation @ pose[:3, 3])
