"""The result of a reconstruction: parameters, maps, light and camera, and how they become a scene."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextface.models.face_model import FaceModel
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.sharing import ONE_PHOTO, Sharing
from nextface.photos.frame import Frame
from nextface.scene import Camera, Environment, Material, Mesh, Rig, Scene
from nextface.scene.geometry import facing, intrinsic_matrix
from nextface.scene.lighting import positive_lobes, sh_rotation


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
    shape_deviation: Tensor | None = None  # [V] mm, how sure stage 2 is of the head at rest; None: not known
    rig: Rig | None = None  # where the cameras stand; None: every photo's pose is in its own camera's frame
    mounts: tuple[int, ...] = ()  # the rig's camera of each photo
    light_of_world: bool = False  # whether lights belong to the rig's frame; else they are fixed to the camera
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None  # where the results were written
    sharing: Sharing = ONE_PHOTO  # which photos have which parameters in common

    def __len__(self) -> int:
        """The number of photos N."""
        return len(self.frames)

    def __getitem__(self, photo: int) -> Reconstruction:
        """The person in one photo, with N = 1; gradients reach this reconstruction's tensors."""
        if not 0 <= photo < len(self):
            raise IndexError(f"there is no photo {photo}; there are {len(self)}, counted from 0")
        return replace(
            self,
            parameters=self.sharing.of_photo(self.parameters, photo),
            frames=(self.frames[photo],),
            mounts=self.mounts[photo : photo + 1],
            sharing=self.sharing[photo],
        )

    def light_coefficients(self) -> Tensor:
        """Spherical harmonics [N, bands^2, 3] of the lights, which are non-negative by construction.

        They are in the light frame of each photo's camera.
        """
        light = self.sharing.by_photo("light", self.parameters.light)
        return self.light_lobes().to(light) @ light.exp()

    def light_lobes(self) -> Tensor:
        """Spherical harmonics [N, bands^2, LIGHT_LOBES] of the lobes of lights; float64, on the CPU.

        They are in the light frame of each photo's camera, into which lobes of a light of the world are turned.
        """
        lobes = positive_lobes(self.bands, LIGHT_LOBES)
        if self.rig is None or not self.light_of_world:
            return lobes.expand(len(self), -1, -1)
        turns = torch.stack([self.rig.light_turn(number) for number in self.mounts])
        return sh_rotation(turns.to(lobes), self.bands) @ lobes

    def vertices(self) -> Tensor:
        """Vertices [N, V, 3] in model space, mm."""
        identity = self.sharing.by_photo("identity", self.parameters.identity)
        return self.model.vertices(identity, self.sharing.by_photo("expression", self.parameters.expression))

    def camera(self, photo: int = 0) -> Camera:
        """The camera of one photo (N = 1), and the pose of the head in it."""
        single = self.sharing.of_photo(self.parameters, photo)
        return self.camera_at(single.rotation, single.translation, single.focal.exp(), photo)

    def camera_at(self, rotation: Tensor, translation: Tensor, focal: Tensor, photo: int = 0) -> Camera:
        """The camera of one photo for another pose and focal length, in their precision.

        Parameters
        ----------
        rotation, translation: [1, 3] as in `Parameters`.
        focal: [1] pixels.
        """
        frame = self.frames[photo]
        intrinsics = intrinsic_matrix(focal, frame.principal.to(focal), frame.aspect, frame.skew)
        faced = facing(rotation)[None]
        camera = Camera(intrinsics, rotation, translation, frame.width, frame.height, faced)
        return camera if self.rig is None else self.rig.mounted(camera, self.mounts[photo])

    def environment(self) -> Environment:
        """The light of every photo."""
        return Environment(self.light_coefficients(), self.environment_height)

    def model_material(self) -> Material:
        """The person's statistical reflectance at the vertices, [1, V, C]; a set for each row of the albedo."""
        values = self.model.reflectance(self.parameters.albedo)
        return Material(values.diffuse, values.specular, values.roughness)

    def scene(self, photo: int = 0) -> Scene:
        """The scene (N = 1) of one photo, as a renderer draws it; differentiable in the parameters.

        Photos differ in size, so each has a scene of its own.
        """
        model, single = self.model, self[photo]
        mesh = Mesh.from_vertices(single.vertices(), model.triangles, model.uvs, model.uv_triangles)
        return Scene(mesh, self.material or single.model_material(), single.environment(), single.camera())

    def to(self, device: str) -> Reconstruction:
        """The same with all its tensors on another device."""

        def moved(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.to(device)

        maps = self.material
        material = maps and Material(
            *(part.to(device) for part in (maps.diffuse, maps.specular, maps.roughness))
        )
        return replace(
            self,
            model=self.model.to(device),
            parameters=self.parameters.to(device),
            frames=tuple(replace(frame, principal=frame.principal.to(device)) for frame in self.frames),
            material=None
            if material is None
            else Material(
                *(values.to(device) for values in (material.diffuse, material.specular, material.roughness))
            ),
            confidence=moved(self.confidence),
            shape_deviation=moved(self.shape_deviation),
            rig=None if self.rig is None else self.rig.to(device),
        )

    def with_parameters(self, parameters: Parameters) -> Reconstruction:
        """This reconstruction with other parameters."""
        return replace(self, parameters=parameters)
