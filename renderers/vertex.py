"""The `vertex` renderer: shades vertices and interpolates their colours. Pure torch, no ray is traced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextface.baking import sample_map
from nextface.lighting import project_map, to_light_frame
from nextface.prefiltered import shade
from nextface.raster import camera_barycentric, interpolate, rasterize_scene
from nextface.scene import Mesh, Scene


@dataclass(frozen=True)
class _Corners:
    """The distinct (vertex, UV) pairs of a mesh: a vertex on a UV seam is shaded once for each side."""

    vertex: Tensor  # [Q] int64
    uv: Tensor  # [Q] int64
    triangles: Tensor  # [F, 3] int64 into the pairs


class VertexRenderer:
    """Draws previews and gradients on any machine, without noise and without shadows.

    Vertices are shaded under the scene's environment, unoccluded, with the project's reflectance (see
    `nextface.prefiltered` for how, and how exactly); a mapped material is looked up at the vertices' UVs.
    Colours are interpolated over a z-buffer. Coverage is 0 or 1: edges are neither smoothed nor differentiable,
    everything else is, vertex positions and camera included. The environment is seen through its first
    `bands` spherical harmonics bands.

    Parameters
    ----------
    device: torch device that the scenes' tensors lie on.
    bands: spherical harmonics bands of the light. Fewer are used for maps of fewer rows.
    """

    name = "vertex"
    casts_shadows = False
    shades_vertices = True

    def __init__(self, device: str = "cpu", bands: int = 9) -> None:
        self.device = torch.device(device)
        self.bands = bands
        self._corners: tuple[Mesh, _Corners] | None = None

    def render(self, scene: Scene, samples: int = 1, seed: int = 0) -> Tensor:
        """Linear radiance and coverage [N, height, width, 4]; `samples` and `seed` are of no use here.

        Raises
        ------
        ValueError: when shapes or devices of the scene's tensors do not fit together.
        """
        self._check(scene)
        bands = min(self.bands, scene.environment.radiance.shape[1])
        light = project_map(scene.environment.radiance, bands)
        return torch.stack([self._draw(scene[photo], light[photo]) for photo in range(len(scene))])

    def close(self) -> None:
        """Forget the last mesh."""
        self._corners = None

    def _draw(self, scene: Scene, light: Tensor) -> Tensor:
        mesh, camera, material = scene.mesh, scene.camera, scene.material
        fragments = rasterize_scene(scene)
        positions = camera.transform(mesh.vertices)[0]
        fragments_with_gradient = camera_barycentric(fragments, mesh.triangles, positions, camera.intrinsics[0])

        corners = self._corners_of(mesh) if material.is_mapped else None
        triangles = mesh.triangles if corners is None else corners.triangles
        seen = torch.zeros(int(triangles.max()) + 1, dtype=torch.bool, device=triangles.device)
        seen[triangles[fragments.triangle[fragments.covered]]] = True
        shaded = seen.nonzero()[:, 0]
        number = seen.cumsum(0) - 1

        vertex = shaded if corners is None else corners.vertex[shaded]
        if corners is None:
            diffuse, specular, roughness = (
                values[0].index_select(0, vertex)
                for values in (material.diffuse, material.specular, material.roughness)
            )
        else:
            assert mesh.uvs is not None  # checked before drawing
            uv = mesh.uvs.index_select(0, corners.uv[shaded])
            diffuse, specular, roughness = (
                sample_map(values, uv)[0]
                for values in (material.diffuse, material.specular, material.roughness)
            )
        normals = camera.rotate(mesh.normals[:, vertex])[0]
        views = -positions.index_select(0, vertex)
        colour = shade(
            light,
            normalize(to_light_frame(normals), dim=-1),
            normalize(to_light_frame(views), dim=-1),
            diffuse,
            specular,
            roughness,
        )
        image = interpolate(fragments_with_gradient, number[triangles], colour)
        return torch.cat([image, fragments.covered[..., None].to(image.dtype)], -1)

    def _corners_of(self, mesh: Mesh) -> _Corners:
        """The mesh's (vertex, UV) pairs, kept for the last topology."""
        if self._corners is not None:
            known, corners = self._corners
            if known.triangles is mesh.triangles and known.uv_triangles is mesh.uv_triangles:
                return corners
        assert mesh.uvs is not None and mesh.uv_triangles is not None  # checked before drawing
        code = mesh.triangles * len(mesh.uvs) + mesh.uv_triangles
        pairs, triangles = torch.unique(code, return_inverse=True)
        vertex = torch.div(pairs, len(mesh.uvs), rounding_mode="floor")
        corners = _Corners(vertex, pairs % len(mesh.uvs), triangles)
        self._corners = mesh, corners
        return corners

    def _check(self, scene: Scene) -> None:
        mesh, material, camera = scene.mesh, scene.material, scene.camera
        photos = len(scene)
        batched = {
            "mesh.vertices": mesh.vertices,
            "mesh.normals": mesh.normals,
            "material.diffuse": material.diffuse,
            "material.specular": material.specular,
            "material.roughness": material.roughness,
            "environment.radiance": scene.environment.radiance,
            "camera.intrinsics": camera.intrinsics,
            "camera.rotation": camera.rotation,
            "camera.translation": camera.translation,
        }
        for name, tensor in batched.items():
            if tensor.shape[0] != photos:
                raise ValueError(f"{name} holds {tensor.shape[0]} photos, but mesh.vertices holds {photos}")
            if tensor.device.type != self.device.type:
                raise ValueError(f"{name} lies on {tensor.device}, but the renderer works on {self.device}")
        values = ("diffuse", 3), ("specular", 1), ("roughness", 1)
        layout = material.diffuse.shape[1:-1]
        for name, channels in values:
            shape = getattr(material, name).shape
            if shape[1:] != (*layout, channels):
                raise ValueError(
                    f"material.{name} has shape {tuple(shape)}, but should be {(photos, *layout, channels)}"
                )
        if material.is_mapped and (mesh.uvs is None or mesh.uv_triangles is None):
            raise ValueError("the material consists of maps, but the mesh has no UV coordinates")
        if not material.is_mapped and material.diffuse.shape[1] != mesh.vertices.shape[1]:
            raise ValueError(
                f"material.diffuse has values for {material.diffuse.shape[1]} vertices, "
                f"but the mesh has {mesh.vertices.shape[1]}"
            )
