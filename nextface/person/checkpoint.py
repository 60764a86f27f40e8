"""Files that a run can go on from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from nextface.errors import CheckpointError
from nextface.models.face_model import FaceModel
from nextface.person.parameters import LIGHT_LOBES, OF_THE_PERSON, Parameters
from nextface.person.reconstruction import Frame, Reconstruction
from nextface.scene import Material
from nextface.system.atomic import replacing

CHECKPOINT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # version 1 knows one photo only, without a leading dimension


def save_checkpoint(reconstruction: Reconstruction, path: Path, stage: int, finished: bool = True) -> None:
    """Write a checkpoint (.npz, no pickle) in one step; `finished`: the stage is done."""
    arrays: dict[str, Any] = {
        "version": CHECKPOINT_VERSION,
        "stage": stage,
        "finished": finished,
        "model": reconstruction.model.name,
        "bands": reconstruction.bands,
        "width": [frame.width for frame in reconstruction.frames],
        "height": [frame.height for frame in reconstruction.frames],
        "principal": np.concatenate([frame.principal.cpu().numpy() for frame in reconstruction.frames]),
        "photoToImage": np.stack([frame.photo_to_image for frame in reconstruction.frames]),
    }
    for item in fields(reconstruction.parameters):
        arrays[item.name] = getattr(reconstruction.parameters, item.name).detach().cpu().numpy()
    if reconstruction.material is not None:
        for item in fields(reconstruction.material):
            arrays[f"material_{item.name}"] = getattr(reconstruction.material, item.name).detach().cpu().numpy()
    if reconstruction.confidence is not None:
        arrays["confidence"] = reconstruction.confidence.cpu().numpy().astype(np.float16)
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, before it is fitted to a run."""

    path: Path
    stage: int  # the stage that made it
    finished: bool  # whether that stage was done
    parameters: Parameters
    material: Material | None  # refined maps or vertex values
    confidence: Tensor | None  # [1, H, W, 3] of the maps
    bands: int
    sizes: np.ndarray  # [N, 2] width, height of the frames it was made in
    photo_to_image: np.ndarray  # [N, 2, 3]

    @classmethod
    def load(cls, path: Path, model: FaceModel) -> Checkpoint:
        """Read a checkpoint made with the same face model.

        Raises
        ------
        CheckpointError: if the file is missing, damaged, of another version or of another face model.
        """
        if not path.is_file():
            raise CheckpointError(
                f"There is no checkpoint {path}. Checkpoints are DIR/checkpoints/stage1.npz to stage3.npz."
            )
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            if int(arrays["version"]) not in READABLE_VERSIONS:
                readable = " and ".join(map(str, READABLE_VERSIONS))
                raise CheckpointError(
                    f"{path} is of version {arrays['version']}; this program reads {readable}."
                )
            if str(arrays["model"]) != model.name:
                raise CheckpointError(
                    f"{path} was made with the face model '{arrays['model']}', this run uses '{model.name}'. "
                    f"Set morphableModel = {arrays['model']}: coefficients mean nothing in another model."
                )
            parameters = Parameters(
                **{item.name: torch.from_numpy(arrays[item.name]) for item in fields(Parameters)}
            )
            material, confidence = None, None
            if "material_diffuse" in arrays:
                material = Material(
                    *(torch.from_numpy(arrays[f"material_{item.name}"]) for item in fields(Material))
                )
            if "confidence" in arrays:
                confidence = torch.from_numpy(arrays["confidence"]).float()
            checkpoint = cls(
                path,
                int(arrays["stage"]),
                bool(arrays["finished"]),
                parameters,
                material,
                confidence,
                int(arrays["bands"]),
                np.stack([arrays["width"], arrays["height"]], -1).reshape(-1, 2),
                arrays["photoToImage"].reshape(-1, 2, 3),
            )
        except (ValueError, TypeError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as error:
            raise CheckpointError(
                f"{path} is not a checkpoint of this program, or is damaged: {error}"
            ) from error
        sizes = {
            "identity": (model.identity_size,),
            "expression": (len(model.expression_names),),
            "albedo": (model.albedo_size,),
            "rotation": (3,),
            "translation": (3,),
            "focal": (),
            "light": (LIGHT_LOBES, 3),
        }
        photos = len(checkpoint.photo_to_image)
        for name, size in sizes.items():
            found, wanted = (
                tuple(getattr(parameters, name).shape),
                (1 if name in OF_THE_PERSON else photos, *size),
            )
            if found != wanted:
                raise CheckpointError(
                    f"{path} does not fit this program's face model: {name} is {found}, not {wanted}."
                )
        if not parameters.is_finite():
            raise CheckpointError(f"{path} holds values that are not finite; start from an earlier checkpoint.")
        return checkpoint

    def resumed(self, reconstruction: Reconstruction, resolution: int) -> tuple[Reconstruction, list[str]]:
        """The checkpoint's values in this run's frame, and notes on what had to be converted.

        The focal length follows the frames' scale, maps are resampled to `resolution`, and light keeps its
        lobes: with fewer bands the same lobes are drawn smoother.

        Raises
        ------
        CheckpointError: if the checkpoint is of other photos, or of other parts of them.
        """
        notes: list[str] = []
        if len(self.sizes) != len(reconstruction):
            raise CheckpointError(
                f"{self.path} was made from {len(self.sizes)} photo(s), this run has {len(reconstruction)}."
            )
        scales = [self._scale_to(frame, photo, notes) for photo, frame in enumerate(reconstruction.frames)]
        focal = self.parameters.focal
        parameters = replace(self.parameters, focal=focal + torch.tensor(scales).log().to(focal))
        if self.bands != reconstruction.bands:
            notes.append(f"the light had {self.bands} bands, this run has {reconstruction.bands}")
        device = str(reconstruction.parameters.focal.device)
        material, confidence = self.material, self.confidence
        if material is not None and material.is_mapped and material.diffuse.shape[1] != resolution:
            notes.append(f"maps resampled from {material.diffuse.shape[1]} to {resolution} texels")
            material = Material(
                *(_resampled(getattr(material, item.name), resolution) for item in fields(material))
            )
            confidence = None if confidence is None else _resampled(confidence, resolution)
        if material is not None:
            material = Material(*(getattr(material, item.name).to(device) for item in fields(material)))
        return replace(
            reconstruction, parameters=parameters.to(device), material=material, confidence=confidence
        ), notes

    def _scale_to(self, frame: Frame, photo: int, notes: list[str]) -> float:
        """How much larger a photo's pixels are drawn in this run's frame; a change is noted."""
        size, photo_to_image = self.sizes[photo], self.photo_to_image[photo]
        ours = _photo_box(frame.photo_to_image, (frame.width, frame.height))
        theirs = _photo_box(photo_to_image, size)
        number = f" {photo}" if len(self.sizes) > 1 else ""
        if np.abs(ours - theirs).max() > SAME_CROP * (ours[2:] - ours[:2]).max():
            raise CheckpointError(
                f"{self.path} was made from another photo{number}, or another face in it: it covers the "
                f"photo's pixels {theirs.round().astype(int).tolist()}, "
                f"this run {ours.round().astype(int).tolist()}."
            )
        scale = float(frame.photo_to_image[0, 0] / photo_to_image[0, 0])
        if abs(scale - 1) > 1e-6:
            notes.append(
                f"the photo{number} was processed at {size[0]} x {size[1]} pixels; "
                f"the focal length is scaled by {scale:.3f}"
            )
        return scale


SAME_CROP = 0.02  # of the crop's size: crops of one face at two resolutions differ by their rounding


def _photo_box(photo_to_image: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """The frame's corners (x0, y0, x1, y1) in pixels of the uncropped photo."""
    scale, offset = photo_to_image[0, 0], photo_to_image[:, 2]
    return np.concatenate([-offset, np.array(size) - offset]) / scale


def _resampled(values: Tensor, resolution: int) -> Tensor:
    """A map [1, H, W, C] at another resolution."""
    moved = values.permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        moved, size=resolution, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.permute(0, 2, 3, 1)
