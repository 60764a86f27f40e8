"""A film as the own parameters of a face model that has some, laid out as programs for head avatars read them.

The layout is that of the data of GaussianAvatars (Qian et al., "GaussianAvatars: photorealistic head avatars
with rigged 3D Gaussians", CVPR 2024), which has FLAME's: an archive for each time step, with arrays by the
model's names, and a transforms file that names it beside the step's camera. The head moves in the world, and
the camera stands still. Metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nextface.export.film.arrays import write_archive
from nextface.export.film.cameras import TO_OPENGL, lens_of, model_to_camera, picture_name, write_transforms
from nextface.fitting.tracking.track import Track, TrackedFrame
from nextface.models.registry import face_models
from nextface.videos.video import Video

CAMERA = "00"  # the name of the only one


def write_own_parameters(folder: Path, track: Track, video: Video) -> None:
    """Write NAME_param/00000.npz ... and transforms_NAME.json of a model that has parameters of its own.

    Time steps are the frames that show the face, counted from 0. The world has OpenGL's axes of the camera, and
    its origin where the model's is on the average over the film, as programs expect a head near it.
    """
    name = track.person.model.name
    if name not in face_models() or face_models()[name].parameters is None:
        return
    middle, steps = np.zeros(3), 0
    for _, parameters in _every(track):
        middle, steps = middle + parameters["translation"][0], steps + 1
    middle /= max(steps, 1)
    camera = np.eye(4)
    camera[:3, 3] = -middle
    lens = lens_of(track.problem.camera)

    def entries() -> Iterator[dict[str, Any]]:
        for step, (frame, parameters) in enumerate(_every(track)):
            path = f"{name}_param/{step:05d}.npz"
            moved = parameters | {"translation": parameters["translation"] - middle}
            arrays = {key: values.astype(np.float32) for key, values in moved.items()}
            write_archive(folder / path, lambda archive, arrays=arrays: archive.add_all(arrays))
            yield {
                "timestep_index": step,
                "timestep_index_original": frame.number,
                "timestep_id": f"{frame.number:06d}",
                "camera_index": 0,
                "camera_id": CAMERA,
                **lens,
                "time": round(frame.time, 6),
                "file_path": picture_name(frame.number),
                f"{name}_param_path": path,
                "transform_matrix": camera.tolist(),
            }

    conventions = (
        "transform_matrix: camera to world, column vectors; the camera looks along -z, x to the right, y up "
        "(OpenGL). The head moves in the world: its parameters are the face model's own. Metres."
    )
    head = {"conventions": conventions, **lens, "source": video.path.name}
    head |= {"timestep_indices": list(range(steps)), "camera_indices": [0]}
    write_transforms(folder / f"transforms_{name}.json", head, entries())


def _every(track: Track) -> Iterator[tuple[TrackedFrame, dict[str, np.ndarray]]]:
    """Frames that show the face, and the model's parameters in the camera's OpenGL axes, float64."""
    model = track.person.model
    told = face_models()[model.name].parameters
    assert told is not None
    axes = TO_OPENGL[:3, :3]
    for frame in track.frames():
        if frame is not None:
            pose = axes @ model_to_camera(frame, track)
            identity = track.person[0].parameters.identity
            yield frame, told(model, identity, frame.expression, pose[:, :3], pose[:, 3])
