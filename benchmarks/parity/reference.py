"""What renderers are compared with, made without this project's transport, light and camera code.

`shadowed` is Mitsuba's own mesh, perspective sensor, `envmap` emitter, `direct` integrator and `diffuse` BSDF,
in its scalar variant, which needs no LLVM. Mitsuba has no additive lobe with Schlick's approximation: that lobe
alone, over a black surface, is drawn by the project's renderer and added. `unshadowed` sums the light of every
texel of the environment over the whole reflectance, in NumPy: it checks the lobe, too, where nothing casts a
shadow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate as resample
from torch.nn.functional import normalize

from nextface.scene import Scene
from nextface.scene.baking import sample_map
from nextface.scene.lighting import map_directions, map_solid_angles
from nextface.scene.raster import interpolate, rasterize_scene
from renderers.mitsuba.renderer import MitsubaRenderer

Array = NDArray[np.float64]

SAMPLES_A_PASS = 64
REFINED = 8  # texels of the reference's environment for one of the scene's, along each side
QUADRATURE_POINTS = 1 << 12  # surface points whose light is summed at once


@dataclass(frozen=True)
class Points:
    """Surface points behind a regular grid of `side` x `side` points in every pixel."""

    seen: NDArray[np.bool_]  # [H, W, side^2]
    normals: Array  # [H, W, side^2, 3] unit shading normals, camera frame
    views: Array  # [H, W, side^2, 3] unit vectors to the camera
    uvs: Array  # [H, W, side^2, 2], v up

    @property
    def cosines(self) -> Array:
        """n.v [H, W, side^2]; 0 where nothing is seen."""
        return np.where(self.seen, (self.normals * self.views).sum(-1), 0.0)


class Reference:
    """Pictures of one scene of one photo with maps, whose camera is centred and has one focal length."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._size = (scene.camera.height, scene.camera.width)

    def shadowed(self, samples: int, seed: int) -> Array:
        """Radiance and coverage [H, W, 4] of direct light with shadows."""
        material = self._scene.material
        black = self._scene.with_material(replace(material, diffuse=torch.zeros_like(material.diffuse)))
        renderer = MitsubaRenderer()
        try:
            lobe = renderer.render(black, samples, 1000 + seed)[0].double().numpy()
        finally:
            renderer.close()
        image = self._draw_diffuse(samples, seed)
        image[..., :3] += lobe[..., :3]
        return image

    def points(self, side: int) -> Points:
        """What a camera sees that looks at `side` x `side` points of every pixel."""
        camera, (height, width) = self._scene.camera, self._size
        larger = torch.diag(torch.tensor([side, side, 1.0]))
        fine = replace(
            self._scene,
            camera=replace(
                camera, intrinsics=larger @ camera.intrinsics, width=side * width, height=side * height
            ),
        )
        fragments = rasterize_scene(fine)
        mesh = self._scene.mesh
        assert mesh.uvs is not None and mesh.uv_triangles is not None
        places, normals = camera.transform(mesh.vertices)[0], camera.rotate(mesh.normals)[0]
        seen = fragments.covered
        views = normalize(-interpolate(fragments, mesh.triangles, places), dim=-1)
        normals = normalize(interpolate(fragments, mesh.triangles, normals), dim=-1)
        uvs = interpolate(fragments, mesh.uv_triangles, mesh.uvs)

        def by_pixel(values: Tensor) -> Tensor:
            blocks = values.unflatten(1, (width, side)).unflatten(0, (height, side))
            return blocks.transpose(1, 2).flatten(2, 3)

        return Points(
            by_pixel(seen).numpy(), *(by_pixel(values).double().numpy() for values in (normals, views, uvs))
        )

    def unshadowed(self, points: Points) -> Array:
        """Radiance [H, W, 3] as if nothing cast a shadow: the sum over all texels' directions."""
        uv = torch.from_numpy(points.uvs[points.seen]).float()
        material = self._scene.material
        maps = (material.diffuse, material.specular, material.roughness)
        diffuse, specular, roughness = (sample_map(values, uv)[0].double().numpy() for values in maps)
        height = self._scene.environment.radiance.shape[1]
        ways = map_directions(height).reshape(-1, 3).numpy() * np.array([1.0, -1, -1])
        light = self._scene.environment.radiance[0].double() * map_solid_angles(height)[..., None]
        normals, views = points.normals[points.seen], points.views[points.seen]
        total = np.zeros((len(normals), 3))
        for start in range(0, len(normals), QUADRATURE_POINTS):
            part = slice(start, start + QUADRATURE_POINTS)
            total[part] = _reflected(
                normals[part],
                views[part],
                (diffuse[part], specular[part], roughness[part]),
                ways.astype(np.float32),
                light.reshape(-1, 3).numpy().astype(np.float32),
            )
        image = np.zeros((*points.seen.shape, 3))
        image[points.seen] = total
        return image.mean(2)

    def _draw_diffuse(self, samples: int, seed: int) -> Array:
        import mitsuba as mi

        before = mi.variant()
        mi.set_variant("scalar_rgb")
        try:
            return self._draw_with(mi, samples, seed)
        finally:
            if before is not None:
                mi.set_variant(before)  # to switch at every draw would be slow

    def _draw_with(self, mi: Any, samples: int, seed: int) -> Array:
        height, width = self._size
        intrinsics = self._scene.camera.intrinsics[0]
        expected = intrinsics.new_tensor([[intrinsics[0, 0], 0, width / 2], [0, intrinsics[0, 0], height / 2]])
        if not torch.allclose(intrinsics[:2], expected):
            raise ValueError(
                f"the reference draws centred cameras of one focal length, not {intrinsics.tolist()}"
            )
        turn = mi.ScalarTransform4f()
        scene = mi.load_dict(
            {
                "type": "scene",
                "integrator": {"type": "direct", "hide_emitters": True},
                "mesh": self._mesh(),
                "light": {
                    "type": "envmap",
                    "bitmap": mi.Bitmap(_finer(self._scene.environment.radiance[0])),
                    "to_world": turn.rotate([1, 0, 0], 180),  # light frame to camera frame
                },
                "sensor": {
                    "type": "perspective",
                    "fov_axis": "x",
                    "fov": float(np.degrees(2 * np.arctan(width / 2 / float(intrinsics[0, 0])))),
                    "to_world": turn.rotate([0, 0, 1], 180),  # Mitsuba's sensor has x left and y up
                    "near_clip": 1.0,
                    "far_clip": 1e5,
                    "sampler": {"type": "multijitter", "sample_count": SAMPLES_A_PASS},
                    "film": {
                        "type": "hdrfilm",
                        "width": width,
                        "height": height,
                        "pixel_format": "rgba",
                        "rfilter": {"type": "box"},
                    },
                },
            }
        )
        passes = -(-samples // SAMPLES_A_PASS)
        total = np.zeros((height, width, 4))
        for number in range(passes):
            total += np.array(mi.render(scene, spp=SAMPLES_A_PASS, seed=seed * 100_000 + number))
        return total / passes

    def _mesh(self) -> Any:
        import mitsuba as mi

        diffuse = np.ascontiguousarray(self._scene.material.diffuse[0].numpy())
        texture = {
            "type": "bitmap",
            "bitmap": mi.Bitmap(diffuse),
            "raw": True,
            "filter_type": "bilinear",
            "wrap_mode": "clamp",
        }
        properties = mi.Properties()
        properties["mesh_bsdf"] = mi.load_dict({"type": "diffuse", "reflectance": texture})
        positions, normals, uvs = _corners(self._scene)
        count = len(positions)
        mesh = mi.Mesh("mesh", count, count // 3, properties, True, True)
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = positions.ravel()
        parameters["vertex_normals"] = normals.ravel()
        parameters["vertex_texcoords"] = uvs.ravel()
        parameters["faces"] = np.arange(count, dtype=np.uint32)
        parameters.update()
        return mesh


def _corners(scene: Scene) -> tuple[NDArray[np.float32], ...]:
    """Camera-frame positions and normals and texture coordinates (v down), three corners for each triangle."""
    mesh, camera = scene.mesh, scene.camera
    if mesh.uvs is None or mesh.uv_triangles is None:
        raise ValueError("the reference draws maps: the mesh needs texture coordinates")
    positions = camera.transform(mesh.vertices)[0][mesh.triangles].reshape(-1, 3)
    normals = camera.rotate(mesh.normals)[0][mesh.triangles].reshape(-1, 3)
    uvs = mesh.uvs[mesh.uv_triangles].reshape(-1, 2) * torch.tensor([1.0, -1]) + torch.tensor([0.0, 1])
    return positions.float().numpy(), normals.float().numpy(), uvs.float().numpy()


def _finer(radiance: Tensor) -> NDArray[np.float32]:
    """The bilinear map [H, 2H, 3] at eight times as many texels a side.

    Mitsuba's `envmap` places texel centres half a texel apart from this project's at the poles and in between
    accordingly: a convention, not an error, which finer texels make small.
    """
    around = torch.cat([radiance[:, -1:], radiance, radiance[:, :1]], 1).permute(2, 0, 1)[None]
    fine = resample(around, scale_factor=REFINED, mode="bilinear", align_corners=False)
    return fine[0, :, :, REFINED:-REFINED].permute(1, 2, 0).contiguous().numpy()


def _reflected(
    normals: Array, views: Array, reflectance: tuple[Array, Array, Array], ways: Any, light: Any
) -> Array:
    """Radiance [P, 3] that points [P] reflect of light [D, 3] (times solid angle) from directions [D, 3].

    The reflectance of docs/conventions.md, written out once more.
    """
    diffuse, specular, roughness = (values.astype(np.float32) for values in reflectance)
    normals, views = normals.astype(np.float32), views.astype(np.float32)
    cos_o = np.maximum(normals @ ways.T, 0)
    result = diffuse / np.pi * (cos_o @ light)
    cos_i = np.maximum((normals * views).sum(1, keepdims=True), 1e-4)
    # of the half vector, only lengths and cosines are needed: |v + w|^2 = 2 + 2 v.w
    together = np.maximum(2 + 2 * (views @ ways.T), 1e-12)
    length = np.sqrt(together)
    cos_h = np.minimum((cos_i + normals @ ways.T) / length, 1)
    cos_d = length / 2
    alpha2 = roughness**4
    d = alpha2 / (np.pi * (1 - (1 - alpha2) * cos_h**2) ** 2)
    root_i = np.sqrt(alpha2 + (1 - alpha2) * cos_i**2)
    root_o = np.sqrt(alpha2 + (1 - alpha2) * cos_o**2)
    visibility = 0.5 / (cos_o * root_i + cos_i * root_o)
    fresnel = specular + (1 - specular) * (1 - cos_d) ** 5
    return np.asarray(result + (fresnel * d * visibility * cos_o) @ light, np.float64)
