"""What a renderer is given: mesh, material, environment light and camera, as batched torch tensors.

A scene says nothing about face models, landmarks or losses, and nothing about how it is drawn. Every
value is immutable; "change" one with `dataclasses.replace`. The leading dimension N counts photos.
Frames, units and colour spaces are those of docs/conventions.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.scene.camera import Camera
from nextface.scene.environment import Environment
from nextface.scene.geometry import vertex_normals


@dataclass(frozen=True)
class Mesh:
    """Triangles in model space (mm, x right, y up, z towards the viewer of a frontal face)."""

    vertices: Tensor  # [N, V, 3] float, mm
    normals: Tensor  # [N, V, 3] float, unit length, outward
    triangles: Tensor  # [F, 3] int64, counter-clockwise seen from outside
    uvs: Tensor | None = None  # [T, 2] float in [0, 1], u right, v up
    uv_triangles: Tensor | None = None  # [F, 3] int64 into `uvs`

    @classmethod
    def from_vertices(
        cls,
        vertices: Tensor,
        triangles: Tensor,
        uvs: Tensor | None = None,
        uv_triangles: Tensor | None = None,
    ) -> Mesh:
        """A mesh with area-weighted vertex normals, through which gradients flow."""
        return cls(vertices, vertex_normals(vertices, triangles), triangles, uvs, uv_triangles)


@dataclass(frozen=True)
class Material:
    """Reflectance f = diffuse / pi + F D G / (4 cos_i cos_o), as vertex values or as maps.

    Vertex values are [N, V, C]; maps are [N, H, W, C] with row 0 at v = 1 and need a mesh with UVs.
    All three have the same layout. Values are linear; the first dimension may be expanded (stride 0).
    """

    diffuse: Tensor  # [N, V, 3] or [N, H, W, 3], linear RGB albedo in [0, 1]
    specular: Tensor  # [N, V, 1] or [N, H, W, 1], F0 in [0, 0.08]
    roughness: Tensor  # [N, V, 1] or [N, H, W, 1], in [0.1, 1]; GGX alpha = roughness^2

    @property
    def is_mapped(self) -> bool:
        """True for maps, False for vertex values."""
        return self.diffuse.dim() == 4


@dataclass(frozen=True)
class Scene:
    """Everything a renderer needs to draw N photos of one mesh topology."""

    mesh: Mesh
    material: Material
    environment: Environment
    camera: Camera

    def __len__(self) -> int:
        """The number of photos N."""
        return self.mesh.vertices.shape[0]

    def __getitem__(self, index: int) -> Scene:
        """The scene of one photo, with N = 1; gradients reach this scene's tensors."""
        pick = slice(index, index + 1)
        mesh, material = self.mesh, self.material
        return Scene(
            replace(mesh, vertices=mesh.vertices[pick], normals=mesh.normals[pick]),
            Material(material.diffuse[pick], material.specular[pick], material.roughness[pick]),
            self.environment[pick],
            self.camera[pick],
        )

    def with_material(self, material: Material) -> Scene:
        """This scene with another material."""
        return replace(self, material=material)

    def with_white_light(self, height: int = 16) -> Scene:
        """This scene under uniform light of radiance 1."""
        like = self.environment.light
        shape = (like.shape[0], height, 2 * height, 3)
        return replace(self, environment=Environment(torch.ones(shape, dtype=like.dtype, device=like.device)))
