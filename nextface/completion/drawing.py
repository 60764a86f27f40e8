"""Draws a mean face for landmark detectors and for people, without a renderer: everywhere alike."""

from __future__ import annotations

import torch
from torch import Tensor

from nextface.scene import Scene
from nextface.scene.raster import interpolate, rasterize_scene

EVEN, FRONT, UP = 0.35, 0.5, 0.25  # light from everywhere, from the camera and from above


@torch.no_grad()
def draw_plainly(scene: Scene) -> Tensor:
    """An image [1, H, W, 4] of a scene's first photo: linear, premultiplied, matt, under a light of its own."""
    fragments = rasterize_scene(scene)
    normals = scene.camera.rotate(scene.mesh.normals)[0]  # the camera looks along z, y is down
    light = EVEN + FRONT * (-normals[:, 2:]).clamp(min=0) + UP * (-normals[:, 1:2]).clamp(min=0)
    colour = interpolate(fragments, scene.mesh.triangles, scene.material.diffuse[0] * light)
    covered = fragments.covered[..., None].to(colour)
    return torch.cat([colour * covered, covered], -1)[None]
