"""The camera of every frame, as programs for radiance fields read it (`transforms.json`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextface.fitting.tracking.track import Track, TrackedFrame
from nextface.scene import Camera
from nextface.system.atomic import replacing
from nextface.videos.video import Video

TO_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # from OpenCV's camera frame (y down, z forward), and back


def model_to_camera(frame: TrackedFrame, track: Track) -> np.ndarray:
    """[3, 4]: turns points of model space (mm) into the camera frame as OpenCV has it."""
    camera = track.camera(frame)
    return torch.cat([camera.turn[0], camera.translation[0][:, None]], 1).double().numpy()


def picture_name(number: int) -> str:
    """Where a frame's picture is, in the result folder."""
    return f"pictures/frame_{number:06d}.png"


def write_cameras(path: Path, track: Track, video: Video) -> None:
    """The camera of each frame around a head that stands still."""
    conventions = (
        "transform_matrix: camera to world, column vectors; the camera looks along -z, x to the right, y up "
        "(OpenGL). World: the head's model space, x to the right in the picture of a frontal face, y up, z out "
        "of the face. Millimetres."
    )

    def entry(frame: TrackedFrame) -> dict[str, Any]:
        pose = np.vstack([model_to_camera(frame, track), [0, 0, 0, 1]])
        return {
            "file_path": picture_name(frame.number),
            "time": round(frame.time, 6),
            "transform_matrix": (np.linalg.inv(pose) @ TO_OPENGL).tolist(),
        }

    head = {"conventions": conventions, **lens_of(track.problem.camera), "source": video.path.name}
    write_transforms(path, head, (entry(frame) for frame in track.frames() if frame is not None))


def lens_of(camera: Camera) -> dict[str, Any]:
    """A camera's lens: pixels, and angles of view in radians."""
    matrix = camera.intrinsics[0]
    across, down = float(matrix[0, 0]), float(matrix[1, 1])
    return {
        "camera_model": "PINHOLE",
        "w": camera.width,
        "h": camera.height,
        "fl_x": across,
        "fl_y": down,
        "cx": float(matrix[0, 2]),
        "cy": float(matrix[1, 2]),
        "camera_angle_x": 2 * math.atan(camera.width / (2 * across)),
        "camera_angle_y": 2 * math.atan(camera.height / (2 * down)),
    }


def write_transforms(path: Path, head: Mapping[str, Any], frames: Iterable[Mapping[str, Any]]) -> None:
    """A transforms.json, of which only one frame is held at a time.

    Parameters
    ----------
    head: what is said once.
    frames: an entry of each.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, indent=2)[:-2] + ',\n  "frames": [')
        separator = "\n"
        for frame in frames:
            file.write(separator + "    " + json.dumps(frame))
            separator = ",\n"
        file.write("\n  ]\n}\n")
