"""From a result folder back to the reconstruction that was written into it.

The checkpoint that the results were written from has everything in full precision; scene_i.json says which
checkpoint that is, because those of earlier runs stay in the folder. Neither a photo nor a detector is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nextface.completion.completing import load_face_model
from nextface.errors import CheckpointError, ConfigError, ResultError
from nextface.export.claim import CHECKPOINTS
from nextface.export.saved.description import Description
from nextface.export.saved.figures import FIGURES, read_figures
from nextface.export.saved.json_object import AGAIN
from nextface.models import face_models
from nextface.models.face_model import FaceModel
from nextface.person.arrangement import MOMENT
from nextface.person.checkpoint import Checkpoint
from nextface.person.circumstances import Circumstances
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY, Sharing
from nextface.photos.frame import Frame
from nextface.scene.environment import MAP_HEIGHT

STAGES = (3, 2, 1)  # the last one that ran wrote the results
SAME_COEFFICIENT = 1e-4  # between a checkpoint's and those in scene_i.json, which has all their digits
SAME_FOCAL = 1e-3  # ratio
MOST_PHOTOS = 10_000
MOST_ROWS = 1024  # of a light's map


@dataclass(frozen=True)
class SavedResult:
    """A result folder that was read.

    `reconstruction` has its `metrics` and `folder`. `descriptions` are those of its photos.
    """

    folder: Path
    reconstruction: Reconstruction
    descriptions: tuple[Description, ...]

    def file(self, kind: str, photo: int = 0) -> Path:
        """The path of a result file by its kind in scene_i.json ("diffuse", "input", "mask", ...).

        Raises
        ------
        ResultError: if the result has none of this kind, or it is gone.
        """
        files = self.descriptions[photo].files
        if kind not in files:
            raise ResultError(f"{self.folder} has no {kind}: its run wrote none.")
        path = self.folder / files[kind]
        if not path.is_file():
            raise ResultError(f"{path} is missing. {AGAIN}")
        return path

    def picture(self, kind: str, photo: int = 0) -> np.ndarray:
        """The pixels of a picture of the folder as they are stored: [H, W] or [H, W, C], uint8 or uint16.

        Raises
        ------
        ResultError: if it is missing or damaged.
        """
        path = self.file(kind, photo)
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ResultError(f"{path} is damaged ({error}). {AGAIN}") from None
        return pixels.astype(np.uint16) if pixels.dtype.itemsize > 2 else pixels


@torch.no_grad()
def load_result(
    folder: Path, model_folder: str = "baselMorphableModel", model: FaceModel | None = None
) -> SavedResult:
    """Read a result folder; tensors are on the CPU.

    Parameters
    ----------
    model_folder: where face models that a user must obtain are looked for.
    model: the face model of your own that the run was given, in place of one that the program knows.

    Raises
    ------
    ResultError: if the folder is no result, is of another version, or lacks a file, or one is damaged.
    CheckpointError: if its checkpoint is damaged.
    MissingPartError: if the face model's files are not here.
    """
    descriptions = _descriptions(folder)
    model = model or _model(descriptions[0], model_folder)
    for description in descriptions:
        if description.model != model.name:
            raise ResultError(
                f"{description.path} was made with the face model '{description.model}', not '{model.name}'."
            )
    checkpoint = _checkpoint(folder, descriptions, model)
    sharing = _sharing(checkpoint, descriptions)
    reconstruction = Reconstruction(
        model,
        checkpoint.parameters,
        tuple(map(_frame, descriptions, checkpoint.photo_to_image)),
        checkpoint.bands,
        _environment_height(folder, descriptions[0]),
        checkpoint.material,
        checkpoint.confidence,
        checkpoint.shape_deviation,
        rig=checkpoint.rig,
        mounts=() if checkpoint.rig is None else tuple(range(len(descriptions))),
        light_of_world=checkpoint.light_of_world,
        metrics=read_figures(folder / FIGURES),
        folder=folder,
        sharing=sharing,
    )
    for photo, description in enumerate(descriptions):
        focal = float(reconstruction.camera(photo).intrinsics[0, 0, 0])
        if abs(focal / description.intrinsics[0, 0] - 1) > SAME_FOCAL:
            raise ResultError(f"{description.path} has another focal length than {checkpoint.path}. {AGAIN}")
    return SavedResult(folder, reconstruction, descriptions)


def _descriptions(folder: Path) -> tuple[Description, ...]:
    """Those of the photos 0, 1, ... of a folder."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ResultError(
            f"{folder} {what}. Name a result folder, such as output/me after `nextface reconstruct me.jpg`."
        )
    found: list[Description] = []
    while len(found) < MOST_PHOTOS and (path := folder / f"scene_{len(found)}.json").is_file():
        found.append(Description.read(path))
    if not found:
        inner = sorted(path.parent.name for path in folder.glob("*/scene_0.json"))
        hint = f" It holds results, such as {folder / inner[0]}." if inner else ""
        raise ResultError(
            f"{folder} is no result folder: it has no scene_0.json, which a finished run writes.{hint}"
        )
    return tuple(found)


def _model(description: Description, folder: str) -> FaceModel:
    if description.model not in face_models():
        raise ResultError(
            f"{description.path} was made with the face model '{description.model}', which this program does "
            "not know. From Python, pass it as `model`."
        )
    try:
        return load_face_model(description.model, "cpu", folder)
    except ConfigError as error:
        raise ResultError(str(error)) from None


def _checkpoint(folder: Path, descriptions: Sequence[Description], model: FaceModel) -> Checkpoint:
    """The checkpoint whose values the results were written with."""
    paths = [folder / CHECKPOINTS / f"stage{stage}.npz" for stage in STAGES]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise ResultError(
            f"{folder} has no checkpoints, which hold what was fitted: {paths[0]} is missing. A run "
            "from another folder's checkpoint that has nothing left to fit writes none: copy that one here."
        )
    damaged: CheckpointError | None = None
    for path in there:
        try:
            checkpoint = Checkpoint.load(path, model)
        except CheckpointError as error:
            damaged = damaged or error
            continue
        if _made(checkpoint, descriptions):
            return checkpoint
    if damaged is not None:
        raise damaged
    raise ResultError(f"None of the checkpoints in {folder / CHECKPOINTS} is that of these results. {AGAIN}")


def _made(checkpoint: Checkpoint, descriptions: Sequence[Description]) -> bool:
    """Whether the results were written with a checkpoint's values."""
    sizes = np.array([(one.width, one.height) for one in descriptions])
    if checkpoint.sizes.shape != sizes.shape or not (checkpoint.sizes == sizes).all():
        return False
    return all(
        _close(getattr(checkpoint.parameters, name)[checkpoint.rows[name][photo]].numpy(), values)
        for photo, description in enumerate(descriptions)
        for name, values in description.coefficients.items()
    )


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, rtol=0, atol=SAME_COEFFICIENT))


def _sharing(checkpoint: Checkpoint, descriptions: Sequence[Description]) -> Sharing:
    """Who shares what, as the checkpoint's rows tell: cameras by their focal lengths.

    Photos of a rig are of one moment, to which belongs what all of them share beyond the person.

    Raises
    ------
    ResultError: if photos share in a way that no run lets them.
    """
    moment = None if checkpoint.rig is None else "the rig's"
    table = dict(SHARED_IDENTITY)
    for name, rows in checkpoint.rows.items():
        if moment is not None and MOMENT[name] == "moment" and not any(rows):
            table[name] = "moment"
    photos = [
        Circumstances(moment=moment, camera=row, focal=float(description.intrinsics[0, 0]))
        for row, description in zip(checkpoint.rows["focal"], descriptions, strict=True)
    ]
    sharing = Sharing.of(table, photos)
    for name, rows in checkpoint.rows.items():
        if rows != sharing.rows(name):
            raise ResultError(
                f"{checkpoint.path} has photos that share their {name} in a way that is not read."
            )
    return sharing


def _frame(description: Description, photo_to_image: np.ndarray) -> Frame:
    """A photo's frame, as scene_i.json and the checkpoint tell it."""
    matrix = description.intrinsics
    return Frame(
        description.width,
        description.height,
        torch.tensor(matrix[None, :2, 2], dtype=torch.float32),
        photo_to_image,
        aspect=float(matrix[1, 1] / matrix[0, 0]),
        skew=float(matrix[0, 1] / matrix[0, 0]),
    )


def _environment_height(folder: Path, description: Description) -> int:
    """Rows of the light's map as the run drew it; the light itself is coefficients, and needs no file."""
    preview = folder / description.files.get("environmentPreview", "")
    if not preview.is_file():
        return MAP_HEIGHT
    try:
        with Image.open(preview) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ResultError(f"{preview} is damaged ({error}). {AGAIN}") from None
    if width != 2 * height or height > MOST_ROWS:
        raise ResultError(
            f"{preview} is {width} x {height} pixels, and no map of a light: 2:1, {MOST_ROWS} rows at most. "
            f"{AGAIN}"
        )
    return height
