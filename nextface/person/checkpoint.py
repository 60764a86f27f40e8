"""Files that a run can go on from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextface.errors import CheckpointError
from nextface.models.bases import vertex_count
from nextface.models.face_model import FaceModel
from nextface.person.checkpoint_contents import CheckpointContents
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY
from nextface.photos.frame import Frame
from nextface.photos.photo import THUMBNAIL_SHAPE
from nextface.scene import Material, Rig
from nextface.scene.baking import resample_map
from nextface.scene.geometry import pose_of, rotation_matrix
from nextface.scene.reflectance import RANGES
from nextface.system.atomic import replacing

CHECKPOINT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)  # version 1 knows one photo only, without a leading dimension
POSES = 3  # the first version whose rotations are poses; before, they went from model space to the camera frame


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
    thumbnails = [frame.thumbnail for frame in reconstruction.frames if frame.thumbnail is not None]
    if len(thumbnails) == len(reconstruction.frames):
        arrays["thumbnails"] = np.stack(thumbnails)
    for item in fields(reconstruction.parameters):
        arrays[item.name] = getattr(reconstruction.parameters, item.name).detach().cpu().numpy()
        arrays[f"rows_{item.name}"] = np.array(reconstruction.sharing.rows(item.name))
    if reconstruction.material is not None:
        for item in fields(reconstruction.material):
            arrays[f"material_{item.name}"] = getattr(reconstruction.material, item.name).detach().cpu().numpy()
    if reconstruction.confidence is not None:
        arrays["confidence"] = reconstruction.confidence.cpu().numpy().astype(np.float16)
    if reconstruction.shape_deviation is not None:
        arrays["shapeDeviation"] = reconstruction.shape_deviation.cpu().numpy()
    if (rig := reconstruction.rig) is not None:
        arrays["rigRotation"], arrays["rigTranslation"] = (
            values.detach().cpu().numpy() for values in (rig.rotation, rig.translation)
        )
        arrays["rigKnown"], arrays["rigMetric"] = np.array(rig.known, np.int64), rig.metric
        arrays["lightOfWorld"] = reconstruction.light_of_world
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
    thumbnails: np.ndarray | None  # [N, 16, 16, 3] of the frames; None in files that were made without
    rows: dict[str, tuple[int, ...]]  # for each parameter the row that each photo uses
    shape_deviation: Tensor | None = None  # [V] mm, how sure stage 2 is of the shape; None: not known
    rig: Rig | None = (
        None  # where the photos' cameras stand; None: each photo's pose is in its own camera's frame
    )
    light_of_world: bool = False

    @classmethod
    def load(cls, path: Path, model: FaceModel) -> Checkpoint:
        """Read a checkpoint made with the same face model.

        Raises
        ------
        CheckpointError: if the file is missing, damaged, of another version or of another face model.
        """
        found = CheckpointContents(path)
        if (version := found.whole("version", 0, 2**31)) not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise CheckpointError(f"{path} is of version {version}; this program reads {readable}.")
        if (name := found.text("model")) != model.name:
            raise CheckpointError(
                f"{path} was made with the face model '{name}', this run uses '{model.name}'. "
                f"Set morphableModel = {name}: coefficients mean nothing in another model."
            )
        photo_to_image = _photo_to_image(found)
        photos = len(photo_to_image)
        parameters, rows = {}, {}
        for key, (size, low, high) in _parameters_of(model).items():
            rows[key] = _rows(found, key, photos)
            sizes = (max(rows[key]) + 1, *size)
            parameters[key] = torch.from_numpy(found.numbers(key, sizes, low, high))
        if version < POSES:
            rotation = parameters["rotation"]
            parameters["rotation"] = pose_of(rotation_matrix(rotation.double())).to(rotation)
        material = _material(found, model)
        return cls(
            path,
            found.whole("stage", 1, 3),
            found.flag("finished"),
            Parameters(**parameters),
            material,
            _confidence(found, material),
            found.whole("bands", 1, MOST_BANDS),
            np.stack([_sizes(found, key, photos) for key in ("width", "height")], -1),
            photo_to_image,
            found.numbers("thumbnails", (photos, *THUMBNAIL_SHAPE), 0, 255, np.uint8)
            if "thumbnails" in found
            else None,
            rows,
            _shape_deviation(found, model),
            _rig(found, photos),
            found.flag("lightOfWorld") if "lightOfWorld" in found else False,
        )

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
        sharing = reconstruction.sharing
        by_photo = [self._scale_to(frame, photo, notes) for photo, frame in enumerate(reconstruction.frames)]
        for name, rows in self.rows.items():
            if rows != sharing.rows(name):
                raise CheckpointError(
                    f"{self.path} was made with other photos sharing their {name}: they use its values number "
                    f"{rows}, in this run {sharing.rows(name)}. Start without it."
                )
        ours = reconstruction.rig
        if (self.rig is None) != (ours is None) or self.light_of_world != reconstruction.light_of_world:
            raise CheckpointError(
                f"{self.path} was made with cameras or a light of another kind: several cameras at one moment, "
                f"or "
                "photos each by itself; one light of the world, or each photo's own. Start without it."
            )
        if self.rig is not None and ours is not None and self.rig.known != ours.known:
            raise CheckpointError(
                f"{self.path} was made with other knowledge of where the cameras stand. Start without it."
            )
        scales = [by_photo[photo] for photo in sharing.firsts("focal")]
        focal = self.parameters.focal
        parameters = replace(self.parameters, focal=focal + torch.tensor(scales).log().to(focal))
        if self.bands != reconstruction.bands:
            notes.append(f"the light had {self.bands} bands, this run has {reconstruction.bands}")
        device = str(reconstruction.parameters.focal.device)
        material, confidence = self.material, self.confidence
        if material is not None and material.is_mapped and material.diffuse.shape[1] != resolution:
            notes.append(f"maps resampled from {material.diffuse.shape[1]} to {resolution} texels")
            material = Material(
                *(resample_map(getattr(material, item.name), resolution) for item in fields(material))
            )
            confidence = None if confidence is None else resample_map(confidence, resolution)
        if material is not None:
            material = Material(*(getattr(material, item.name).to(device) for item in fields(material)))
        confidence = None if confidence is None else confidence.to(device)
        deviation = None if self.shape_deviation is None else self.shape_deviation.to(device)
        return replace(
            reconstruction,
            parameters=parameters.to(device),
            material=material,
            confidence=confidence,
            shape_deviation=deviation,
            rig=None if self.rig is None else self.rig.to(device),
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
        if self.thumbnails is not None and frame.thumbnail is not None:
            unlike = np.abs(frame.thumbnail.astype(float) - self.thumbnails[photo]).mean()
            if unlike > SAME_PICTURE:
                raise CheckpointError(
                    f"{self.path} was made from another photo{number}: it covers the same pixels, but its "
                    "picture is not this one. Start from a checkpoint of this photo, or without one."
                )
        scale = _scale_of(frame.photo_to_image) / _scale_of(photo_to_image)
        if abs(scale - 1) > 1e-6:
            notes.append(
                f"the photo{number} was processed at {size[0]} x {size[1]} pixels; "
                f"the focal length is scaled by {scale:.3f}"
            )
        return scale


SAME_CROP = 0.02  # of the crop's size: crops of one face at two resolutions differ by their rounding
SAME_PICTURE = (
    10.0  # of 255, mean difference of thumbnails: one photo's stay within 5, two portraits' beyond 40
)
MOST_BANDS = 12
MOST_PIXELS = 100_000  # a side
ROUNDING = 1e-4  # by which stored reflectance may leave its range


def _parameters_of(model: FaceModel) -> dict[str, tuple[tuple[int, ...], float, float]]:
    """The sizes of one photo's parameters, and bounds that no fit comes near."""
    return {
        "identity": ((model.identity_size,), -1e3, 1e3),
        "expression": ((len(model.expression_names),), -1e3, 1e3),
        "albedo": ((model.albedo_size,), -1e3, 1e3),
        "rotation": ((3,), -100.0, 100.0),
        "translation": ((3,), -1e5, 1e5),
        "focal": ((), 0.0, 20.0),
        "light": ((LIGHT_LOBES, 3), -math.inf, 40.0),
    }


def _rows(found: CheckpointContents, name: str, photos: int) -> tuple[int, ...]:
    """The row of a parameter that each photo uses, counted as they appear; older files share identity alone."""
    if f"rows_{name}" not in found:
        return (0,) * photos if SHARED_IDENTITY[name] == "person" else tuple(range(photos))
    rows = tuple(found.numbers(f"rows_{name}", (photos,), 0, photos - 1, np.int64).tolist())
    if list(dict.fromkeys(rows)) != list(range(max(rows) + 1)):
        raise found.wrong(f"rows_{name}", "does not count the values as they appear")
    return rows


def _photo_to_image(found: CheckpointContents) -> np.ndarray:
    """The maps [N, 2, 3] from photos to frames: one scale for x and y, which is not 0."""
    shape = found.shape("photoToImage")
    sizes = (2, 3) if len(shape) == 2 else (None, 2, 3)  # version 1 knows one photo
    maps = found.numbers("photoToImage", sizes, kind=np.float64).reshape(-1, 2, 3)
    scales = np.abs(np.linalg.det(maps[..., :2]))
    if scales.min() < 1e-12 or scales.max() > 1e12:
        raise found.wrong("photoToImage", "has no usable scale")
    return maps


def _sizes(found: CheckpointContents, name: str, photos: int) -> np.ndarray:
    """Widths or heights [N] in pixels."""
    shape = found.shape(name)
    sizes = () if not shape and photos == 1 else (photos,)  # version 1 knows one photo
    return found.numbers(name, sizes, 1, MOST_PIXELS, np.int64).reshape(photos)


def _material(found: CheckpointContents, model: FaceModel) -> Material | None:
    """Maps [1, H, W, C] or vertex values [1, V, C] within their ranges; None where there are none."""
    if "material_diffuse" not in found:
        return None
    place: tuple[int | None, ...] = (None, None)
    if len(found.shape("material_diffuse")) != 4 or model.uvs is None:
        place = (vertex_count(model),)
    values: dict[str, Tensor] = {}
    for item in fields(Material):
        low, high = RANGES[item.name]
        sizes = (1, *place, 3 if item.name == "diffuse" else 1)
        stored = found.numbers(f"material_{item.name}", sizes, low - ROUNDING, high + ROUNDING)
        values[item.name] = torch.from_numpy(stored)
        place = stored.shape[1:-1]  # the others' is the same
    return Material(**values)


def _confidence(found: CheckpointContents, material: Material | None) -> Tensor | None:
    """What the maps rest on, [1, H, W, 3]; None where there are no maps."""
    if "confidence" not in found or material is None or not material.is_mapped:
        return None
    sizes = (*material.diffuse.shape[:3], 3)
    return torch.from_numpy(found.numbers("confidence", sizes, -ROUNDING, 1.01))  # half precision


def _shape_deviation(found: CheckpointContents, model: FaceModel) -> Tensor | None:
    """How sure stage 2 is of the shape, [V] mm; None where it did not tell."""
    if "shapeDeviation" not in found:
        return None
    return torch.from_numpy(found.numbers("shapeDeviation", (vertex_count(model),), 0, 1e6))


def _rig(found: CheckpointContents, photos: int) -> Rig | None:
    """Where the cameras stand, one for each photo; None where photos are each by itself."""
    if "rigRotation" not in found:
        return None
    rotation = found.numbers("rigRotation", (photos, 3), -100.0, 100.0)
    translation = found.numbers("rigTranslation", (photos, 3), -1e6, 1e6)
    known = tuple(bool(one) for one in found.numbers("rigKnown", (photos,), 0, 1, np.int64))
    return Rig(torch.from_numpy(rotation), torch.from_numpy(translation), known, found.flag("rigMetric"))


def _photo_box(photo_to_image: np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
    """The frame's corners (x0, y0, x1, y1) in pixels of the uncropped photo."""
    corners = np.linalg.solve(photo_to_image[:, :2], (np.array([[0, 0], size]) - photo_to_image[:, 2]).T).T
    return np.concatenate([corners.min(0), corners.max(0)])  # the photo may have been turned


def _scale_of(photo_to_image: np.ndarray) -> float:
    """Pixels of the frame for each of the photo's."""
    return float(np.sqrt(abs(np.linalg.det(photo_to_image[:, :2]))))
