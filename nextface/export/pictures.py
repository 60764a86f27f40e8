"""Pictures of a reconstruction: panels for people, and the figures that compare render and photo."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nextface.scene import Material, Scene
from nextface.scene.baking import sample_map
from nextface.scene.colour import linear_to_srgb
from nextface.scene.raster import interpolate, rasterize_scene
from nextface.scene.reflectance import SPECULAR_RANGE

BACKDROP = (36, 38, 43)  # 8-bit sRGB, behind heads that are shown for their own sake
CLAY = 0.4  # albedo of the illumination panel: about that of skin, so that its exposure is the photo's


def clay_material(scene: Scene) -> Material:
    """A grey, matt material in vertex layout, which shows a scene's light alone."""
    count, vertices = scene.mesh.vertices.shape[:2]
    like = scene.mesh.vertices
    one = torch.ones(count, vertices, 1, dtype=like.dtype, device=like.device)
    return Material(CLAY * one.expand(-1, -1, 3), 0 * one, one)


def encode(image: Tensor) -> np.ndarray:
    """A render [h, w, 4] (linear, premultiplied) as 8-bit sRGB with straight alpha, black where empty."""
    alpha = image[..., 3:].clamp(0, 1)
    straight = torch.where(alpha > 0, image[..., :3] / alpha.clamp(min=1e-6), torch.zeros_like(image[..., :3]))
    encoded = torch.cat([linear_to_srgb(straight.clamp(0, 1)), alpha], -1)
    return (encoded.detach().cpu().numpy() * 255 + 0.5).astype(np.uint8)


def over_black(encoded: np.ndarray) -> np.ndarray:
    """The RGB [h, w, 3] of an 8-bit RGBA image with straight alpha, composited over black, 8-bit."""
    return (encoded[..., :3] * (encoded[..., 3:] / 255.0) + 0.5).astype(np.uint8)


def over_backdrop(encoded: np.ndarray) -> np.ndarray:
    """The RGB [h, w, 3] of an 8-bit RGBA image with straight alpha over a dark backdrop, 8-bit."""
    share = encoded[..., 3:] / 255.0
    return (encoded[..., :3] * share + np.array(BACKDROP) * (1 - share) + 0.5).astype(np.uint8)


def psnr(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio in dB of 8-bit RGB images over a mask [h, w]; None for an empty mask."""
    if not mask.any():
        return None
    error = np.mean((first[mask].astype(float) - second[mask].astype(float)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-3)))


@torch.no_grad()
def reflectance_images(scene: Scene) -> dict[str, np.ndarray]:
    """What the camera of a scene of one photo sees of its reflectance: 8-bit RGBA by kind."""
    fragments = rasterize_scene(scene)
    mesh, material = scene.mesh, scene.material
    images = {}
    for kind, scale in (("diffuse", 1.0), ("specular", SPECULAR_RANGE[1]), ("roughness", 1.0)):
        values = getattr(material, kind)
        if material.is_mapped:
            assert mesh.uvs is not None and mesh.uv_triangles is not None
            uv = interpolate(fragments, mesh.uv_triangles, mesh.uvs)
            seen = sample_map(values, uv)[0]
        else:
            seen = interpolate(fragments, mesh.triangles, values[0])
        seen = seen / scale
        encoded = linear_to_srgb(seen) if kind == "diffuse" else seen.expand(-1, -1, 3)
        shown = torch.cat([encoded * fragments.covered[..., None], fragments.covered[..., None]], -1)
        images[kind] = (shown.cpu().numpy() * 255 + 0.5).astype(np.uint8)
    return images


def panels(
    photo: np.ndarray, encoded: np.ndarray, light: np.ndarray, reflectance: dict[str, np.ndarray]
) -> np.ndarray:
    """Seven panels in a row: input, overlay, reconstruction, illumination, diffuse, specular, roughness.

    Parameters
    ----------
    photo: [h, w, 3] 8-bit sRGB.
    encoded, light: 8-bit RGBA renders; reflectance: from `reflectance_images`.
    """
    share = encoded[..., 3:] / 255.0
    overlay = (encoded[..., :3] * share + photo * (1 - share) + 0.5).astype(np.uint8)
    shown = [over_black(image) for image in (encoded, light, *reflectance.values())]
    return np.concatenate([photo, overlay, *shown], 1)
