"""The result of a reconstruction: parameters, maps, light and camera, and how they become a scene."""

from __future__ import annotations

import math
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
CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class Parameters:
    """What the stages optimise. N counts photos; S is 1 for a shared identity, else N."""

    identity: Tensor  # [S, identity_size] standard deviations
    expression: Tensor  # [N, E] within the model's bounds
    albedo: Tensor  # [S, albedo_size] standard deviations
    rotation: Tensor  # [N, 3] axis-angle, radians, model to camera
    translation: Tensor  # [N, 3] mm, model to camera
    focal: Tensor  # [N] log of the focal length in pixels
    light: Tensor  # [N, LIGHT_LOBES, 3] log of each lobe's power

    def detached(self) -> Parameters:
        """The same values outside any autograd graph."""
        return Parameters(**{item.name: getattr(self, item.name).detach() for item in fields(self)})

    def to(self, device: str) -> Parameters:
        """The same values on another device."""
        return Parameters(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def is_finite(self) -> bool:
        """True if no value is NaN or infinite."""
        return all(bool(torch.isfinite(getattr(self, item.name)).all()) for item in fields(self))


@dataclass(frozen=True)
class Frame:
    """The processed photo as a camera sees it."""

    width: int  # pixels
    height: int  # pixels
    principal: Tensor  # [N, 2] pixels: the centre of the uncropped photo, carried through the crop
    photo_to_image: np.ndarray  # [2, 3] float64, pixels of the uncropped photo to pixels of this frame


@dataclass(frozen=True)
class Reconstruction:
    """A person in a photo: everything that is needed to draw and export the face."""

    model: FaceModel
    parameters: Parameters
    frame: Frame
    bands: int
    environment_height: int
    material: Material | None = None  # refined maps or vertex values; None: the model's reflectance
    confidence: Tensor | None = None  # [1, H, W, 3] of the maps: seen, mirrored, statistical
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None  # where the results were written

    def light_coefficients(self) -> Tensor:
        """Spherical harmonics [N, bands^2, 3] of the light, which is non-negative by construction."""
        lobes = positive_lobes(self.bands, LIGHT_LOBES).to(self.parameters.light)
        return lobes @ self.parameters.light.exp()

    def vertices(self) -> Tensor:
        """Vertices [N, V, 3] in model space, mm."""
        parameters = self.parameters
        count = parameters.expression.shape[0]
        return self.model.vertices(parameters.identity.expand(count, -1), parameters.expression)

    def camera(self) -> Camera:
        """The camera and the pose of the head in it."""
        parameters, frame = self.parameters, self.frame
        intrinsics = intrinsic_matrix(parameters.focal.exp(), frame.principal.to(parameters.focal))
        return Camera(intrinsics, parameters.rotation, parameters.translation, frame.width, frame.height)

    def environment(self) -> Environment:
        """The light as a latitude-longitude map."""
        return Environment(evaluate_map(self.light_coefficients(), self.environment_height))

    def model_material(self) -> Material:
        """The statistical reflectance at the vertices."""
        count = self.parameters.expression.shape[0]
        values = self.model.reflectance(self.parameters.albedo.expand(count, -1))
        return Material(values.diffuse, values.specular, values.roughness)

    def scene(self) -> Scene:
        """The scene that a renderer draws; differentiable in the parameters."""
        model = self.model
        mesh = Mesh.from_vertices(self.vertices(), model.triangles, model.uvs, model.uv_triangles)
        return Scene(mesh, self.material or self.model_material(), self.environment(), self.camera())

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
            "width": self.frame.width,
            "height": self.frame.height,
            "principal": self.frame.principal.cpu().numpy(),
            "photoToImage": self.frame.photo_to_image,
        }
        for item in fields(self.parameters):
            arrays[item.name] = getattr(self.parameters, item.name).detach().cpu().numpy()
        if self.material is not None and self.material.is_mapped:
            for name in ("diffuse", "specular", "roughness"):
                arrays[f"map_{name}"] = getattr(self.material, name).detach().cpu().numpy()
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **arrays)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds, before it is fitted to a run."""

    path: Path
    stage: int  # the stage that made it
    finished: bool  # whether that stage was done
    parameters: Parameters
    maps: Material | None
    bands: int
    size: tuple[int, int]  # width, height of the frame it was made in
    photo_to_image: np.ndarray  # [2, 3]

    @classmethod
    def load(cls, path: Path, model: FaceModel) -> Checkpoint:
        """Read a checkpoint made with the same face model.

        Raises
        ------
        CheckpointError: if the file is missing, damaged, of another version or of another face model.
        """
        if not path.is_file():
            raise CheckpointError(f"There is no checkpoint {path}. Checkpoints are DIR/checkpoints/stage1.npz to stage3.npz.")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            if int(arrays["version"]) != CHECKPOINT_VERSION:
                raise CheckpointError(f"{path} is of checkpoint version {arrays['version']}; this program reads {CHECKPOINT_VERSION}.")
            if str(arrays["model"]) != model.name:
                raise CheckpointError(
                    f"{path} was made with the face model '{arrays['model']}', this run uses '{model.name}'. "
                    f"Set morphableModel = {arrays['model']}: coefficients of one model mean nothing in another."
                )
            parameters = Parameters(**{item.name: torch.from_numpy(arrays[item.name]) for item in fields(Parameters)})
            maps = None
            if "map_diffuse" in arrays:
                maps = Material(*(torch.from_numpy(arrays[f"map_{name}"]) for name in ("diffuse", "specular", "roughness")))
            checkpoint = cls(
                path,
                int(arrays["stage"]),
                bool(arrays["finished"]),
                parameters,
                maps,
                int(arrays["bands"]),
                (int(arrays["width"]), int(arrays["height"])),
                arrays["photoToImage"],
            )
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise CheckpointError(f"{path} is not a checkpoint of this program, or is damaged: {error}") from error
        sizes = (checkpoint.parameters.identity.shape[-1], checkpoint.parameters.albedo.shape[-1])
        if sizes != (model.identity_size, model.albedo_size):
            raise CheckpointError(f"{path} holds {sizes} identity and albedo coefficients, the model has {(model.identity_size, model.albedo_size)}.")
        return checkpoint

    def resumed(self, reconstruction: Reconstruction) -> tuple[Reconstruction, list[str]]:
        """The checkpoint's values in this run's frame, and notes on what had to be converted.

        The focal length follows the frame's scale; refined maps are resampled to this run's size by the
        caller. Light keeps its lobes: with fewer bands the same lobes are drawn smoother.

        Raises
        ------
        CheckpointError: if the checkpoint is of a differently cropped photo.
        """
        notes = []
        scale = float(np.linalg.norm(reconstruction.frame.photo_to_image[0, :2]) / np.linalg.norm(self.photo_to_image[0, :2]))
        parameters = replace(self.parameters, focal=self.parameters.focal + math.log(scale))
        if abs(scale - 1) > 1e-6:
            notes.append(f"the checkpoint's photo was {self.size[0]} x {self.size[1]} pixels; its focal length was scaled by {scale:.3f}")
        if self.bands != reconstruction.bands:
            notes.append(f"the checkpoint's light had {self.bands} bands, this run has {reconstruction.bands}")
        resumed = replace(reconstruction, parameters=parameters.to(str(reconstruction.parameters.focal.device)), material=self.maps)
        return resumed, notes
