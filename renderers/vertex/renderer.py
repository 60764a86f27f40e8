"""The `vertex` renderer: shades vertices and interpolates their colours. Pure torch, no ray is traced."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextface.scene import Mesh, Scene
from nextface.scene.baking import sample_map
from nextface.scene.corners import MeshCorners
from nextface.scene.lighting import to_light_frame
from nextface.scene.prefiltered import shade
from nextface.scene.raster import camera_barycentric, interpolate, rasterize_scene
from renderers.renderer import Occlusion
from renderers.scene_check import check_scene
from renderers.specular_lobe import GGX, SpecularLobe


class VertexRenderer:
    """Draws previews and gradients on any machine, without noise and without shadows.

    Vertices are shaded under the scene's environment, unoccluded, with the project's reflectance (see
    `nextface.scene.prefiltered` for how, and how exactly); a mapped material is looked up at the vertices' UVs.
    Colours are interpolated over a z-buffer. Coverage is 0 or 1: edges are neither smoothed nor differentiable,
    everything else is, vertex positions and camera included. The environment is seen through its first
    `bands` spherical harmonics bands. Works on the device and in the precision of the scene's tensors.

    Parameters
    ----------
    bands: spherical harmonics bands of the light. Fewer are used of lights and maps that have fewer.
    """

    name = "vertex"
    casts_shadows = False
    shades_vertices = True
    max_bounces = 1
    specular_lobe: SpecularLobe = GGX()
    noisy = False

    def __init__(self, bands: int = 9) -> None:
        self.bands = bands
        self._corners: MeshCorners | None = None

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance and coverage [N, height, width, 4]; `samples` and `seed` change nothing here.

        Raises
        ------
        ValueError: when shapes or devices of the scene's tensors do not fit together.
        """
        check_scene(scene, samples)
        light = scene.environment.coefficients(min(self.bands, scene.environment.bands))
        return torch.stack([self._draw(scene[photo], light[photo]) for photo in range(len(scene))])

    def occlusion(self, scene: Scene) -> Occlusion:
        """All light reaches every point.

        Protocol: `renderers.renderer.ShadowCaster.occlusion`.
        """
        return lambda origins, directions: origins.new_ones(len(origins), dtype=torch.bool)

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

        maps = (material.diffuse, material.specular, material.roughness)
        if corners is None:
            vertex = shaded
            diffuse, specular, roughness = (values[0].index_select(0, vertex) for values in maps)
        else:
            assert mesh.uvs is not None and corners.uv is not None  # checked before drawing
            vertex, uv = corners.vertex[shaded], mesh.uvs[corners.uv[shaded]]
            diffuse, specular, roughness = (sample_map(values, uv)[0] for values in maps)
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

    def _corners_of(self, mesh: Mesh) -> MeshCorners:
        """The mesh's corners, kept for the last topology."""
        if self._corners is None or not self._corners.fits(mesh):
            self._corners = MeshCorners.of(mesh)
        return self._corners
