"""A head under a strong light, and how far an image of it is from ray tracing."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from rendered_photo import person
from torch import Tensor
from torch.nn.functional import normalize

from nextface.fitting.transfer.renderer import TransferRenderer
from nextface.models import create as create_model
from nextface.scene import Environment, Material, Scene
from nextface.scene.baking import bake_vertices
from nextface.scene.lighting import evaluate_map, map_directions, positive_kernel, project_map, scale_bands
from nextface.scene.raster import interpolate, rasterize_scene
from nextface.scene.reflectance import RANGES
from renderers.renderer import Renderer, Transferable

SIZE = 64
BANDS = 9


def side_light() -> Environment:
    """A warm disc from the right, ten times the sky's power on what faces it."""
    directions = map_directions(64).float()
    side = normalize(torch.tensor([0.9, 0.25, 0.35]), dim=0)
    radius = math.radians(12)
    disc = (directions @ side > math.cos(radius)).float() * 3.0 / (2 * math.pi * (1 - math.cos(radius)))
    sky = 0.42 + 0.17 * directions[..., 1]
    blue, warm = torch.tensor([0.95, 1.0, 1.08]), torch.tensor([1.05, 1.0, 0.93])
    return Environment((sky[..., None] * blue + disc[..., None] * warm)[None])


def lit_head() -> Scene:
    """Somebody's head, a little turned, with a strong light of nine bands from the side and maps."""
    scene = person(create_model("open"), SIZE).scene()
    light = scale_bands(project_map(side_light().radiance, BANDS), positive_kernel(BANDS))
    maps = Material(**{kind: bake_vertices(getattr(scene.material, kind), scene.mesh, 128) for kind in RANGES})
    return replace(scene, material=maps, environment=Environment(evaluate_map(light, 64)))


def skin(scene: Scene, diffuse: float, specular: float, roughness: float) -> Scene:
    """The scene with one reflectance everywhere, at its vertices."""
    values = torch.ones(1, scene.mesh.vertices.shape[1], 1)
    return scene.with_material(
        Material(values.expand(-1, -1, 3) * diffuse, values * specular, values * roughness)
    )


class Unused:
    """A renderer that is not asked for anything."""


def of_all_pixels(renderer: Transferable, scene: Scene) -> TransferRenderer:
    """A transfer renderer that must never fall back on rays."""
    wanted = torch.ones(scene.camera.height, scene.camera.width, dtype=torch.bool)
    made = TransferRenderer(renderer, [scene], [wanted], BANDS)
    made._renderer = Unused()  # type: ignore[assignment]
    return made


def facing(scene: Scene) -> Tensor:
    """n.v [h, w] at pixel centres; 0 beside the surface."""
    camera, mesh = scene.camera, scene.mesh
    views = -normalize(camera.transform(mesh.vertices)[0], dim=-1)
    cosine = (camera.rotate(mesh.normals)[0] * views).sum(-1, keepdim=True)
    return interpolate(rasterize_scene(scene), mesh.triangles, cosine)[..., 0]


def distance(image: Tensor, scene: Scene, renderer: Renderer, samples: int) -> float:
    """Relative RMS difference in radiance from ray tracing at n.v > 0.05, in pixels that are wholly covered.

    The noise of ray tracing drops out: two renders have independent noise, and so is the mean product of
    differences from each the mean squared difference from their common mean.
    """
    with torch.no_grad():
        one, other = (renderer.render(scene, samples, seed)[0] for seed in (1, 2))
    inside = (facing(scene) > 0.05) & (one[..., 3] == 1)
    a, b, found = one[inside, :3], other[inside, :3], image[inside, :3]
    return float((((found - a) * (found - b)).mean() / (a * b).mean()).clamp(min=0).sqrt())
