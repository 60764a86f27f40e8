"""The result folder of a reconstruction: every file of it, in one place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextface.baking import bake_vertices
from nextface.export.files import write_json, write_png
from nextface.export.light import write_environment
from nextface.export.maps import write_maps
from nextface.export.mesh import write_obj
from nextface.export.pictures import clay_material, encode, over_black, panels, psnr, reflectance_images
from nextface.fitting.observation import Target
from nextface.reconstruction import Reconstruction
from nextface.scene import Material, Mesh
from renderers.renderer import Renderer

SCHEMA_VERSION = 1


def draw(
    reconstruction: Reconstruction, renderer: Renderer, samples: int, seed: int, photo: int = 0
) -> np.ndarray:
    """The fitted render of one photo: 8-bit sRGB RGBA with straight alpha."""
    with torch.no_grad():
        return encode(renderer.render(reconstruction.scene()[photo], samples, seed)[0])


def compare(encoded: np.ndarray, target: Target) -> dict[str, float | None]:
    """PSNR in dB of an 8-bit RGBA render against the photo, over the loss's mask and over the whole oval."""
    shown = over_black(encoded)
    return {"psnr": psnr(shown, target.srgb8, target.mask), "psnrOval": psnr(shown, target.srgb8, target.oval)}


def map_material(reconstruction: Reconstruction, resolution: int) -> Material | None:
    """The reconstruction's maps, baked from vertices where it has none; None for a model without UVs."""
    material = reconstruction.material or reconstruction.model_material()
    if material.is_mapped or reconstruction.model.uvs is None:
        return material if material.is_mapped else None
    mesh = reconstruction.scene().mesh
    return Material(
        *(
            bake_vertices(values[:1], mesh, resolution)
            for values in (material.diffuse, material.specular, material.roughness)
        )
    )


@torch.no_grad()
def write_results(
    reconstruction: Reconstruction,
    target: Target,
    renderer: Renderer,
    folder: Path,
    samples: int,
    seed: int,
    resolution: int,
    exr: bool,
    photo: int = 0,
) -> dict[str, float | None]:
    """Write every result file of one photo except metrics.json; returns the PSNR figures.

    Parameters
    ----------
    samples, resolution: light paths a pixel of the pictures, and size of maps that must still be baked.
    """
    files: dict[str, str] = {}
    encoded = draw(reconstruction, renderer, samples, seed, photo)
    scene = reconstruction.scene()[photo]
    light = encode(renderer.render(scene.with_material(clay_material(scene)), samples, seed + 1)[0])
    for kind, image in {
        "reconstruction": encoded,
        "render": panels(target.srgb8, encoded, light, reflectance_images(scene)),
        "input": target.srgb8,
        "mask": target.mask,
    }.items():
        files[kind] = f"{kind}_{photo}.png"
        write_png(folder / files[kind], image.astype(float) / (1 if image.dtype == bool else 255))
    maps = map_material(reconstruction, resolution)
    names = write_maps(maps, folder, 0, reconstruction.confidence) if maps else None
    files.update(names or {})
    files["mesh"], files["meshNeutral"] = f"mesh{photo}.obj", f"meshNeutral{photo}.obj"
    write_obj(folder / files["mesh"], scene.mesh, 0, names)
    write_obj(folder / files["meshNeutral"], _neutral(reconstruction, photo), 0, names)
    for name in write_environment(reconstruction, photo, folder, exr):
        files["environmentPreview" if name.endswith(".png") else "environment"] = name
    if (folder / f"landmarks_{photo}.png").exists():
        files["landmarks"] = f"landmarks_{photo}.png"
    write_json(folder / f"scene_{photo}.json", scene_description(reconstruction, photo, files))
    return compare(encoded, target)


def scene_description(reconstruction: Reconstruction, photo: int, files: dict[str, str]) -> dict[str, Any]:
    """Camera, pose, light and coefficients of one photo, as scene_i.json holds them."""
    parameters, frame = reconstruction.parameters, reconstruction.frame
    person = min(photo, parameters.identity.shape[0] - 1)
    return {
        "schemaVersion": SCHEMA_VERSION,
        "K": reconstruction.camera().intrinsics[photo].tolist(),
        "width": frame.width,
        "height": frame.height,
        "rotation": parameters.rotation[photo].tolist(),
        "translation": parameters.translation[photo].tolist(),
        "photoToImage": frame.photo_to_image.tolist(),
        "sh": {
            "bands": reconstruction.bands,
            "coefficients": reconstruction.light_coefficients()[photo].tolist(),
        },
        "model": {
            "name": reconstruction.model.name,
            "identity": parameters.identity[person].tolist(),
            "expression": parameters.expression[photo].tolist(),
            "albedo": parameters.albedo[person].tolist(),
        },
        "files": files,
    }


def _neutral(reconstruction: Reconstruction, photo: int) -> Mesh:
    parameters, model = reconstruction.parameters, reconstruction.model
    neutral = reconstruction.with_parameters(
        replace(parameters, expression=torch.zeros_like(parameters.expression))
    )
    vertices = neutral.vertices()[photo : photo + 1]
    return Mesh.from_vertices(vertices, model.triangles, model.uvs, model.uv_triangles)
