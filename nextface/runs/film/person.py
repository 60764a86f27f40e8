"""The person of a film, reconstructed from its keyframes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nextface.errors import FaceNotFoundError, PhotoError
from nextface.export.files import write_png
from nextface.landmarks.detection.several_looks import averaged
from nextface.person.checkpoint import Checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.photos.exif import CameraId
from nextface.photos.photo import Photo
from nextface.photos.shot import Shot
from nextface.preparation.film.sightings import landmarks_of, scheme_of
from nextface.preparation.prepare import made_ready
from nextface.runs.equipment import Equipment
from nextface.runs.run import Run
from nextface.system.progress import Progress
from nextface.videos.records import Records
from nextface.videos.video import Video

MARK_TYPE = np.dtype([("reached", "u1")])  # one record where the person was begun, a second where they are done
FOLDER = "person"  # in the film's result folder: that of the person, as of photos


@dataclass(frozen=True)
class Keyframe:
    """A frame that the person is reconstructed from."""

    number: int
    shot: Shot
    look: torch.Tensor  # [P, 2] what one look saw, in pixels of the processed frame


def keyframe_shots(
    video: Video,
    sightings: Records,
    numbers: Sequence[int],
    equipment: Equipment,
    folder: Path,
    progress: Progress,
) -> list[Keyframe]:
    """Frames made ready as photos are, in the order of the film; those that cannot be used are left out.

    Raises
    ------
    FaceNotFoundError: if none can be used.
    """
    config = equipment.config
    name = config.landmarksDetectorType
    found: list[Keyframe] = []
    # One camera at one zoom took all of them: they share its focal length.
    camera = CameraId("", video.path.name, "", 1.0)
    for number in sorted(numbers):
        record = sightings.read(number, number + 1)[0]
        frame = next(video.frames(number, int(record["stamp"])), None)
        seen = landmarks_of(record, scheme_of(name))
        if frame is None or seen is None:
            continue
        path = folder / f"keyframe_{len(found)}.png"
        write_png(path, frame.rgb / 255)
        detector, _ = equipment.detectors.get(name)
        closely = averaged(detector, frame.rgb, seen) or seen
        photo = Photo(path, frame.rgb.astype(np.float32) / 255, None)
        try:
            shot = made_ready(photo, closely, config, folder, equipment.device, number=len(found))
        except (FaceNotFoundError, PhotoError) as error:
            progress.warn(f"Frame {number} is no keyframe: {error}")
            continue
        for warning in shot.warnings:
            progress.warn(f"keyframe {len(found)}, frame {number}: {warning}")
        look = torch.from_numpy(seen.transformed(shot.frame.photo_to_image).points)
        found.append(Keyframe(number, replace(shot, camera=camera), look))
    if not found:
        raise FaceNotFoundError(
            f"In none of the frames of {video.path} is the face shown well enough to reconstruct the person."
        )
    return found


def reconstructed(
    keyframes: Sequence[Keyframe],
    equipment: Equipment,
    folder: Path,
    progress: Progress,
    started: float,
    marks: Records,
) -> Reconstruction:
    """The person, fitted to all keyframes together, into a result folder of their own.

    Parameters
    ----------
    marks: of `MARK_TYPE`: how far an earlier run with the same film and settings came. One that was finished is
        loaded, one that was not is gone on with.
    """
    config = equipment.config
    run = Run([keyframe.shot for keyframe in keyframes], folder, config, equipment, progress, started)
    if not len(marks):
        for stage in (1, 2, 3):  # of a run with other settings
            (folder / "checkpoints" / f"stage{stage}.npz").unlink(missing_ok=True)
        marks.append(np.zeros((), MARK_TYPE))
        return _finished(run, None, marks)
    stages = (folder / "checkpoints" / f"stage{stage}.npz" for stage in (3, 2, 1))
    checkpoint = next((path for path in stages if path.is_file()), None)
    if checkpoint is None or len(marks) == 1:
        return _finished(run, checkpoint, marks)
    equipment.start(progress)
    stored = Checkpoint.load(checkpoint, equipment.model)
    return stored.resumed(run.start(), config.textureResolution)[0]


def _finished(run: Run, checkpoint: Path | None, marks: Records) -> Reconstruction:
    person = run.execute(checkpoint, frozenset())
    if len(marks) == 1:
        marks.append(np.zeros((), MARK_TYPE))
    return person
