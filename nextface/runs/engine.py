"""The front door: photos in, a relightable face out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nextface.config import Config
from nextface.errors import FaceNotFoundError, PhotoError
from nextface.export.claim import Claim, claimed
from nextface.models.face_model import FaceModel
from nextface.person.reconstruction import Reconstruction
from nextface.photos.folder import find_photos, result_name, safe_name, sidecar
from nextface.photos.lens import Lens
from nextface.photos.shot import Shot
from nextface.preparation.prepare import prepare
from nextface.runs.equipment import Equipment, equipped
from nextface.runs.run import Run
from nextface.system.paths import given_path, given_path_or_none
from nextface.system.progress import Progress, Silent
from nextface.system.python import program


def reconstruct(
    photo: Path | str,
    output: Path | str = "output",
    config: Config | None = None,
    *,
    landmarks: Path | str | None = None,
    mask: Path | str | None = None,
    checkpoint: Path | str | None = None,
    skip_stages: frozenset[int] = frozenset(),
    face: int | None = None,
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> Reconstruction:
    """Reconstruct a relightable face from one photo and write the result folder `output/<photo's name>`.

    Parameters
    ----------
    photo: JPEG, PNG, WebP or HEIC.
    landmarks, mask: files that override detection (JSON, photo pixels) and the skin region (PNG, white = skin).
    checkpoint: where to start from; the stages that it has finished are not run again.
    skip_stages: of 1, 2 and 3, those not to run.
    face: which face, 0 being the largest.
    progress: where to report to; silent by default.
    model: a face model of your own, in place of the one that the configuration names.

    Raises
    ------
    NextFaceError: for everything that a user can mend; see `nextface.errors`.
    """
    started = time.monotonic()
    photo, output = given_path(photo, "The photo's path"), given_path(output, "output")
    landmarks, mask = given_path_or_none(landmarks, "landmarks"), given_path_or_none(mask, "mask")
    checkpoint = given_path_or_none(checkpoint, "checkpoint")
    config, progress = config or Config(), progress or Silent()
    with equipped(config, model) as equipment:
        return reconstruct_with(
            equipment,
            photo,
            output / result_name(photo),
            progress,
            started,
            landmarks=landmarks,
            mask=mask,
            checkpoint=checkpoint,
            skip_stages=skip_stages,
            face=face,
        )


def reconstruct_with(
    equipment: Equipment,
    photo: Path,
    folder: Path,
    progress: Progress,
    started: float,
    *,
    landmarks: Path | None = None,
    mask: Path | None = None,
    checkpoint: Path | None = None,
    skip_stages: frozenset[int] = frozenset(),
    face: int | None = None,
) -> Reconstruction:
    """`reconstruct` with a model and a renderer that are there already, into the result folder `folder`.

    Parameters
    ----------
    started: when the work began, as `time.monotonic` tells.
    """
    config = equipment.config
    told = ["reconstruct", "--input", str(photo), "--output", str(folder.parent)]
    words = command_line(told, skip_stages, landmarks=landmarks, mask=mask, face=face)
    # A folder that is not named after its photo (beside one of the same name) cannot be said on a command line.
    command = words if folder.name == result_name(photo) else ()
    with claimed(folder, photo) as claim:
        shot = prepare(
            photo, config, folder, equipment.device, landmarks, mask, face, detectors=equipment.detectors
        )
        _tell(shot, progress)
        run = Run([shot], folder, config, equipment, progress, started, command)
        result = run.execute(checkpoint, skip_stages)
        tidy(claim, progress)
    return result


def reconstruct_shared(
    photos: Path | str | Sequence[Path | str],
    output: Path | str = "output",
    config: Config | None = None,
    *,
    landmarks: Path | str | None = None,
    mask: Path | str | None = None,
    checkpoint: Path | str | None = None,
    skip_stages: frozenset[int] = frozenset(),
    progress: Progress | None = None,
    model: FaceModel | None = None,
) -> Reconstruction:
    """Reconstruct one person from several photos: one identity and one set of maps, fitted to all together.

    Every photo keeps a pose, an expression, a focal length and a light of its own. A photo in which no usable
    face is found is left out with a warning. The result folder is `output/<name>`, the name being the
    folder's, or the first photo's where photos are listed.

    Parameters
    ----------
    photos: a folder, all photos of which are taken in the order of their names, or a list of photos.
    landmarks, mask: folders with <photo's name>.json and <photo's name>.png for photos whose landmarks or skin
        are given; the others' are detected.
    checkpoint: of an earlier run on the same photos.
    skip_stages, progress, model: as for `reconstruct`.

    Raises
    ------
    NextFaceError: for everything that a user can mend; see `nextface.errors`.
    """
    started = time.monotonic()
    config, progress = config or Config(), progress or Silent()
    output, checkpoint = given_path(output, "output"), given_path_or_none(checkpoint, "checkpoint")
    landmarks, mask = given_path_or_none(landmarks, "landmarks"), given_path_or_none(mask, "mask")
    words: Sequence[str] = ()
    if isinstance(photos, Path | str):
        owner = given_path(photos, "The folder's path")
        listed, folder = photos_of_folder(owner, output, progress)
        told = ["reconstruct", "--input", str(owner), "--output", str(output)]
        words = command_line(told, skip_stages, sharedIdentity=True, landmarks=landmarks, mask=mask)
    else:
        listed = tuple(given_path(photo, "A photo's path") for photo in photos)
        if not listed:
            raise PhotoError("The list of photos is empty.")
        owner, folder = listed[0], output / result_name(listed[0])
    with equipped(config, model) as equipment, claimed(folder, owner) as claim:
        shots = prepare_all(listed, equipment, folder, landmarks, mask, progress)
        run = Run(shots, folder, config, equipment, progress, started, words)
        result = run.execute(checkpoint, skip_stages)
        tidy(claim, progress)
    return result


def photos_of_folder(source: Path, output: Path, progress: Progress) -> tuple[tuple[Path, ...], Path]:
    """A folder's photos, which show one person, and the person's result folder.

    Raises
    ------
    PhotoError: if the folder cannot be read or holds no photo.
    """
    found = find_photos(source)
    if found.note:
        progress.note(found.note)
    return found.photos, output / safe_name(source.resolve().name, "photos")


def prepare_all(
    photos: Sequence[Path],
    equipment: Equipment,
    folder: Path,
    landmarks: Path | None,
    mask: Path | None,
    progress: Progress,
    lenses: Mapping[Path, Lens | None] | None = None,
) -> list[Shot]:
    """The photos of one person that can be used; the others are reported and left out.

    Parameters
    ----------
    lenses: what took the photos, as calibrated, where that is known.
    """
    usable: list[Shot] = []
    for photo in photos:
        try:
            shot = prepare(
                photo,
                equipment.config,
                folder,
                equipment.device,
                sidecar(landmarks, photo, ".json", "--landmarks"),
                sidecar(mask, photo, ".png", "--mask"),
                number=len(usable),
                searched=f"searched_{result_name(photo)}.png",
                detectors=equipment.detectors,
                lens=(lenses or {}).get(photo),
            )
        except (FaceNotFoundError, PhotoError) as error:
            progress.warn(f"{photo.name} is left out: {error}")
            continue
        progress.note(f"photo {len(usable)}: {photo.name}")
        _tell(shot, progress)
        usable.append(shot)
    if not usable:
        raise FaceNotFoundError(
            f"None of the {len(photos)} photos can be used; the warnings say why. Give the points of faces "
            "that are not found with --landmarks DIR."
        )
    return usable


def tidy(claim: Claim, progress: Progress) -> None:
    """Remove what an earlier run left and this one did not make."""
    if changed := claim.remove_stale():
        progress.note(
            f"Of an earlier run, changed since, and therefore left in {claim.folder}: {', '.join(changed)}"
        )


def _tell(shot: Shot, progress: Progress) -> None:
    for note in shot.notes:
        progress.note(note)
    for warning in shot.warnings:
        progress.warn(warning)


def command_line(
    command: Sequence[str], skip_stages: frozenset[int], **options: Path | str | int | bool | None
) -> list[str]:
    """The words that run a command again, without checkpoint and settings.

    Parameters
    ----------
    command: its name, and what it always has.
    options: by their names; None and False are left out, True has no value.
    """
    words = [*program(), *command, *(f"--skipStage{stage}" for stage in sorted(skip_stages))]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            words += [f"--{name}", str(value)]
    return words
