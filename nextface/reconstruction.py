"""The result of a reconstruction: parameters, maps, light and camera, and how they become a scene."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from nextface.atomic import replacing
from nextface.errors import CheckpointError
from nextface.geometry import intrinsic_matrix
from nextface.lighting import evaluate_map, positive_lobes
from nextface.models.face_model import FaceModel
from nextface.scene import Camera, Environment, Material, Mesh, Scene

LIGHT_LOBES = 256  # more than the 144 coefficients of 12 bands, so that lobes span every band
CHECKPOINT_VERSION = 2
READABLE_VERSIONS = (1, 2)  # version 1 knows one photo only, without a leading dimension


@dataclass(frozen=True)
class Parameters:
    """What the stages optimise: one person in N photos."""

    identity: Tensor  # [1, identity_size] standard deviations
    expression: Tensor  # [N, E] within the model's bounds
    albedo: Tensor  # [1, albedo_size] standard deviations
    rotation: Tensor  # [N, 3] axis-angle, radians, model to camera
    translation: Tensor  # [N, 3] mm, model to camera
    focal: Tensor  # [N] log of the focal length in pixels
    light: Tensor  # [N, LIGHT_LOBES, 3] log of each lobe's power

    def detached(self) -> Parameters:
        """Copies outside any autograd graph, which no optimiser changes in place."""
        return Parameters(**{item.name: getattr(self, item.name).detach().clone() for item in fields(self)})

    def to(self, device: str) -> Parameters:
        """The same values on another device."""
        return Parameters(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def __getitem__(self, photo: int) -> Parameters:
        """Those of one photo, with N = 1; gradients reach these tensors."""
        pick = slice(photo, photo + 1)
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return Parameters(
            **{name: value if name in OF_THE_PERSON else value[pick] for name, value in values.items()}
        )

    @classmethod
    def joined(cls, photos: Sequence[Parameters]) -> Parameters:
        """Parameters of N photos from N times one photo's, with the first one's identity and albedo."""
        return cls(
            **{
                item.name: getattr(photos[0], item.name)
                if item.name in OF_THE_PERSON
                else torch.cat([getattr(photo, item.name) for photo in photos])
                for item in fields(cls)
            }
        )

    def is_finite(self) -> bool:
        """True if no value is NaN or infinite."""
        return all(bool(torch.isfinite(getattr(self, item.name)).all()) for item in fields(self))


OF_THE_PERSON = ("identity", "albedo")  # parameters that all photos share


@dataclass(frozen=True)
class Frame:
    """The processed photo as a camera sees it."""

    width: int  # pixels
    height: int  # pixels
    principal: Tensor  # [1, 2] pixels: the centre of the uncropped photo, carried through the crop
    photo_to_image: np.ndarray  # [2, 3] float64, pixels of the uncropped photo to pixels of this frame


@dataclass(frozen=True)
class Reconstruction:
    """A person in one photo or several: everything that is needed to draw and export the face.

    `reconstruction[i]` is the same person in photo i alone.
    """

    model: FaceModel
    parameters: Parameters
    frames: tuple[Frame, ...]  # one for each photo
    bands: int
    environment_height: int
    material: Material | None = None  # refined maps or vertex values; None: the model's reflectance
    confidence: Tensor | None = None  # [1, H, W, 3] of the maps: seen, mirrored, statistical
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None  # where the results were written

    def __len__(self) -> int:
        """The number of photos N."""
        return len(self.frames)

    def __getitem__(self, photo: int) -> Reconstruction:
        """The person in one photo, with N = 1; gradients reach this reconstruction's tensors."""
        if not 0 <= photo < len(self):
            raise IndexError(f"there is no photo {photo}; there are {len(self)}, counted from 0")
        return replace(self, parameters=self.parameters[photo], frames=(self.frames[photo],))

    def light_coefficients(self) -> Tensor:
        """Spherical harmonics [N, bands^2, 3] of the lights, which are non-negative by construction."""
        lobes = positive_lobes(self.bands, LIGHT_LOBES).to(self.parameters.light)
        return lobes @ self.parameters.light.exp()

    def vertices(self) -> Tensor:
        """Vertices [N, V, 3] in model space, mm."""
        parameters = self.parameters
        return self.model.vertices(parameters.identity.expand(len(self), -1), parameters.expression)

    def camera(self, photo: int = 0) -> Camera:
        """The camera of one photo (N = 1), and the pose of the head in it."""
        parameters, frame = self.parameters[photo], self.frames[photo]
        intrinsics = intrinsic_matrix(parameters.focal.exp(), frame.principal.to(parameters.focal))
        return Camera(intrinsics, parameters.rotation, parameters.translation, frame.width, frame.height)

    def environment(self) -> Environment:
        """The light of every photo as a latitude-longitude map."""
        return Environment(evaluate_map(self.light_coefficients(), self.environment_height))

    def model_material(self) -> Material:
        """The person's statistical reflectance at the vertices, [1, V, C]."""
        values = self.model.reflectance(self.parameters.albedo)
        return Material(values.diffuse, values.specular, values.roughness)

    def scene(self, photo: int = 0) -> Scene:
        """The scene (N = 1) of one photo, as a renderer draws it; differentiable in the parameters.

        Photos differ in size, so each has a scene of its own.
        """
        model, alone = self.model, self[photo]
        mesh = Mesh.from_vertices(alone.vertices(), model.triangles, model.uvs, model.uv_triangles)
        return Scene(mesh, self.material or self.model_material(), alone.environment(), alone.camera())

    def with_parameters(self, parameters: Parameters) -> Reconstruction:
        """This reconstruction with other parameters."""
        return replace(self, parameters=parameters)

    def save(self, path: Path, stage: int, finished: bool = True) -> None:
        """Write a checkpoint (.npz, no pickle) in one step; `finished`: the stage is done."""
        arrays: dict[str, Any] = {
            "version": CHECKPOINT_VERSION,
            "stage": stage,
            "finished": finished,
            "model": self.model.name,
            "bands": self.bands,
            "width": [frame.width for frame in self.frames],
            "height": [frame.height for frame in self.frames],
            "principal": np.concatenate([frame.principal.cpu().numpy() for frame in self.frames]),
            "photoToImage": np.stack([frame.photo_to_image for frame in self.frames]),
        }
        for item in fields(self.parameters):
            arrays[item.name] = getattr(self.parameters, item.name).detach().cpu().numpy()
        if self.material is not None:
            for item in fields(self.material):
                arrays[f"material_{item.name}"] = getattr(self.material, item.name).detach().cpu().numpy()
        if self.confidence is not None:
            arrays["confidence"] = self.confidence.cpu().numpy().astype(np.float16)
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
