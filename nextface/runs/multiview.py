"""Photos that several cameras took of one person at one moment."""

from __future__ import annotations

import time
from pathlib import Path

from nextface.cameras.reading import read_cameras
from nextface.config import Config
from nextface.errors import CameraError
from nextface.export.claim import claimed
from nextface.models.face_model import FaceModel
from nextface.person.arrangement import beside_each_other
from nextface.person.reconstruction import Reconstruction
from nextface.runs.engine import command_line, photos_of_folder, prepare_all, tidy
from nextface.runs.equipment import equipped
from nextface.runs.run import Run
from nextface.system.paths import given_path, given_path_or_none
from nextface.system.progress import Progress, Silent

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}  # in mm


def reconstruct_moment(
    photos: Path | str,
    output: Path | str = "output",
    config: Config | None = None,
    *,
    cameras: Path | str | None = None,
    unit: str | None = None,
    own_light: bool = False,
    landmarks: Path | str | None = None,
    mask: Path | str | None = None,
    checkpoint: Path | str | None = None,
    skip_stages: frozenset[int] = frozenset(),
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> Reconstruction:
    """Reconstruct one person from photos that several cameras took at one moment.

    All photos share head, expression and, told in the world and turned into each camera, light. Where the
    cameras' places are known they share the pose, too; else each camera's place is found from the face. The
    result folder is `output/<the folder's name>`; it tells the cameras in the head's frame, in `cameras/`.

    Parameters
    ----------
    photos: a folder, all photos of which are taken in the order of their names.
    cameras: a COLMAP model's folder, a transforms.json, or a file of OpenCV's (`nextface.cameras.reading`).
        Photos that it does not know are left out. Without it, lenses are assumed as for other photos.
    unit: of the cameras' places, one of `UNITS`; without it, the head's size tells it.
    own_light: each photo has a light of its own, as where cameras flash or expose differently.
    landmarks, mask, checkpoint, progress, model: as for `reconstruct_shared`.
    skip_stages: of 2 and 3, those not to run.

    Raises
    ------
    NextFaceError: for everything that a user can mend; see `nextface.errors`.
    """
    started = time.monotonic()
    config, progress = config or Config(), progress or Silent()
    source, output = given_path(photos, "The folder's path"), given_path(output, "output")
    cameras, checkpoint = given_path_or_none(cameras, "cameras"), given_path_or_none(checkpoint, "checkpoint")
    landmarks, mask = given_path_or_none(landmarks, "landmarks"), given_path_or_none(mask, "mask")
    if unit is not None and unit not in UNITS:
        raise CameraError(f"--unit {unit}: units are {', '.join(UNITS)}.")
    if unit is not None and cameras is None:
        raise CameraError(f"--unit {unit} is the unit of the cameras' places: name their file with --cameras.")
    listed, folder = photos_of_folder(source, output, progress)
    views = read_cameras(cameras, listed).for_photos(listed) if cameras else {}
    known = tuple(photo for photo in listed if photo in views) if cameras else listed
    for photo in listed:
        if photo not in known:
            progress.warn(f"{photo.name} is left out: {cameras} has no camera for it.")
    told = ["multiview", str(source), "--output", str(output)]
    words = command_line(
        told, skip_stages, cameras=cameras, unit=unit, landmarks=landmarks, mask=mask, ownLight=own_light
    )
    lenses = {photo: view.lens for photo, view in views.items()}
    with equipped(config, model) as equipment, claimed(folder, source) as claim:
        shots = prepare_all(known, equipment, folder, landmarks, mask, progress, lenses)
        at = [views[shot.source].place if shot.source in views else None for shot in shots]
        if cameras is not None and any(place is None for place in at):
            progress.note(
                f"{cameras} does not tell where all cameras stand: their places are found from the face."
            )
        arrangement = beside_each_other(shots, at, None if unit is None else UNITS[unit], own_light)
        run = Run(shots, folder, config, equipment, progress, started, words, arrangement)
        result = run.execute(checkpoint, skip_stages)
        tidy(claim, progress)
    return result
