"""A film of FLAME's head as FLAME's own parameters, laid out as programs for animated head avatars read them.

The layout is that of the data of GaussianAvatars (Qian et al., "GaussianAvatars: photorealistic head avatars
with rigged 3D Gaussians", CVPR 2024): an archive for each time step, with arrays by these names, and a
transforms file that names it beside the step's camera. FLAME's rotation is about its root joint; the head moves
in the world, and the camera stands still. Metres, as FLAME has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nextface.export.film.arrays import write_archive
from nextface.export.film.cameras import TO_OPENGL, lens_of, model_to_camera, picture_name, write_transforms
from nextface.fitting.tracking.track import Track, TrackedFrame
from nextface.models.face_model import FaceModel
from nextface.models.flame.files import NAME
from nextface.models.skinned_head import SkinnedHead
from nextface.videos.video import Video

FOLDER, CAMERAS = "flame_param", "transforms_flame.json"
MILLIMETRES = 1000.0  # of a metre
CAMERA = "00"  # the name of the only one


def is_flame(model: FaceModel) -> TypeGuard[SkinnedHead]:
    """Whether a face model is FLAME."""
    return isinstance(model, SkinnedHead) and model.name == NAME


def write_flame(folder: Path, track: Track, video: Video) -> None:
    """Write flame_param/00000.npz ... and transforms_flame.json into a film's result folder.

    Time steps are the frames that show the face, counted from 0. The world has OpenGL's axes of the camera, and
    its origin where FLAME's is on the average over the film, as programs expect a head near it.
    """
    middle, steps = np.zeros(3), 0
    for _, parameters in _every(track):
        middle, steps = middle + parameters["translation"][0], steps + 1
    middle /= max(steps, 1)
    camera = np.eye(4)
    camera[:3, 3] = -middle
    lens = lens_of(track.problem.camera)

    def entries() -> Iterator[dict[str, Any]]:
        for step, (frame, parameters) in enumerate(_every(track)):
            name = f"{FOLDER}/{step:05d}.npz"
            moved = parameters | {"translation": parameters["translation"] - middle}
            arrays = {key: values.astype(np.float32) for key, values in moved.items()}
            write_archive(folder / name, lambda archive, arrays=arrays: archive.add_all(arrays))
            yield {
                "timestep_index": step,
                "timestep_index_original": frame.number,
                "timestep_id": f"{frame.number:06d}",
                "camera_index": 0,
                "camera_id": CAMERA,
                **lens,
                "time": round(frame.time, 6),
                "file_path": picture_name(frame.number),
                "flame_param_path": name,
                "transform_matrix": camera.tolist(),
            }

    conventions = (
        "transform_matrix: camera to world, column vectors; the camera looks along -z, x to the right, y up "
        "(OpenGL). The head moves in the world: flame_param_path holds FLAME's parameters, whose rotation is "
        "about the root joint. Metres."
    )
    head = {"conventions": conventions, **lens, "source": video.path.name}
    head |= {"timestep_indices": list(range(steps)), "camera_indices": [0]}
    write_transforms(folder / CAMERAS, head, entries())


def _every(track: Track) -> Iterator[tuple[TrackedFrame, dict[str, np.ndarray]]]:
    """Frames that show the face, and FLAME's parameters in the camera's OpenGL axes, float64."""
    model = track.person.model
    assert is_flame(model)
    identity = track.person[0].parameters.identity.double().cpu()
    for frame in track.frames():
        if frame is not None:
            yield frame, flame_parameters(model, identity, frame.expression, model_to_camera(frame, track))


def flame_parameters(
    model: SkinnedHead, identity: torch.Tensor, expression: torch.Tensor, pose: np.ndarray
) -> dict[str, np.ndarray]:
    """FLAME's parameters of one frame; metres and radians, float64.

    Parameters
    ----------
    identity: [1, K]; expression: [E]: the components, and the angles of neck, jaw, left and right eye.
    pose: [3, 4] from model space (mm) to the camera frame as OpenCV has it.
    """
    components, angles = expression.double().cpu().split([len(model.component_names), 12])
    root = model.joints(identity, components[None])[0, 0].numpy() / MILLIMETRES
    turn = TO_OPENGL[:3, :3] @ pose[:, :3]
    place = TO_OPENGL[:3, :3] @ pose[:, 3] / MILLIMETRES
    neck, jaw, eyes = (part.numpy()[None] for part in angles.split([3, 3, 6]))
    return {
        "translation": (place + turn @ root - root)[None],  # FLAME turns about the root, a pose about 0
        "rotation": Rotation.from_matrix(turn).as_rotvec()[None],
        "neck_pose": neck,
        "jaw_pose": jaw,
        "eyes_pose": eyes,
        "shape": identity[0].numpy(),
        "expr": components.numpy()[None],
        "static_offset": np.zeros((1, len(model.shape.mean), 3)),
    }
