"""The result folder of a reconstruction: every file of it, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextface.export.cameras import write_cameras
from nextface.export.files import write_json, write_png
from nextface.export.light import write_environment
from nextface.export.maps import write_maps
from nextface.export.mesh import write_obj
from nextface.export.pictures import clay_material, encode, over_black, panels, psnr, reflectance_images
from nextface.export.uncertainty import write_deviation_picture, write_deviations
from nextface.models.bases import neutral_vertices
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.scene import Material, Mesh
from nextface.scene.baking import bake_vertices
from nextface.scene.geometry import rotation_vector
from renderers.renderer import Renderer

SCHEMA_VERSION = 1
NEUTRAL_MESH = "meshNeutral0.obj"


def draw(
    reconstruction: Reconstruction, renderer: Renderer, samples: int, seed: int, photo: int = 0
) -> np.ndarray:
    """The fitted render of one photo: 8-bit sRGB RGBA with straight alpha."""
    with torch.no_grad():
        return encode(renderer.render(reconstruction.scene(photo), samples, seed)[0])


def compare(encoded: np.ndarray, shot: Shot) -> dict[str, float | None]:
    """PSNR in dB of an 8-bit RGBA render against the photo, over the loss's mask and over the whole oval."""
    shown = over_black(encoded)
    return {"psnr": psnr(shown, shot.srgb8, shot.mask), "psnrOval": psnr(shown, shot.srgb8, shot.oval)}


def map_material(reconstruction: Reconstruction, resolution: int) -> Material | None:
    """The reconstruction's maps, baked from vertices where it has none; None for a model without UVs."""
    material = reconstruction.material or reconstruction.model_material()
    if material.is_mapped or reconstruction.model.uvs is None:
        return material if material.is_mapped else None
    mesh = reconstruction.scene().mesh
    return Material(
        *(
            bake_vertices(values, mesh, resolution)
            for values in (material.diffuse, material.specular, material.roughness)
        )
    )


@torch.no_grad()
def write_results(
    reconstruction: Reconstruction,
    shots: Sequence[Shot],
    renderer: Renderer,
    folder: Path,
    samples: int,
    seed: int,
    resolution: int,
    exr: bool,
) -> list[dict[str, float | None]]:
    """Write every result file except metrics.json; returns each photo's PSNR figures.

    Maps and the head without expression belong to the person and are written once, with number 0.

    Parameters
    ----------
    shots: the photos, one for each of the reconstruction's.
    samples: light paths a pixel of the reconstruction; the picture of the light has half of them.
    resolution: of maps that must still be baked.
    """
    maps = map_material(reconstruction, resolution)
    names = write_maps(maps, folder, reconstruction.confidence) if maps else {}
    write_obj(folder / NEUTRAL_MESH, _neutral(reconstruction), names)
    common = {**names, "meshNeutral": NEUTRAL_MESH}
    if reconstruction.shape_deviation is not None:
        common["deviations"] = write_deviations(reconstruction.shape_deviation, folder)
    if reconstruction.rig is not None:
        write_cameras(reconstruction, shots, folder)
    figures = []
    for photo, shot in enumerate(shots):
        encoded = draw(reconstruction, renderer, samples, seed, photo)
        scene = reconstruction.scene(photo)
        clay = scene.with_material(clay_material(scene))
        light = encode(renderer.render(clay, max(samples // 2, 1), seed + 1)[0])
        files = {**common, "mesh": f"mesh{photo}.obj"}
        for kind, image in {
            "reconstruction": encoded,
            "render": panels(shot.srgb8, encoded, light, reflectance_images(scene)),
            "input": shot.srgb8,
            "mask": shot.mask,
        }.items():
            files[kind] = f"{kind}_{photo}.png"
            write_png(folder / files[kind], image.astype(float) / (1 if image.dtype == bool else 255))
        write_obj(folder / files["mesh"], scene.mesh, names)
        for name in write_environment(reconstruction[photo], photo, folder, exr):
            files["environmentPreview" if name.endswith(".png") else "environment"] = name
        if reconstruction.shape_deviation is not None:
            files["uncertainty"] = f"uncertainty_{photo}.png"
            write_deviation_picture(reconstruction[photo], shot.srgb8, folder / files["uncertainty"])
        if (folder / f"landmarks_{photo}.png").exists():
            files["landmarks"] = f"landmarks_{photo}.png"
        write_json(folder / f"scene_{photo}.json", scene_description(reconstruction[photo], files))
        figures.append(compare(encoded, shot))
    return figures


def scene_description(reconstruction: Reconstruction, files: dict[str, str]) -> dict[str, Any]:
    """Camera, pose, light and coefficients of one photo (N = 1), as scene_i.json holds them."""
    parameters, (frame,), camera = reconstruction.parameters, reconstruction.frames, reconstruction.camera()
    rig, rigged = reconstruction.rig, {}
    if rig is not None:
        (mount,) = reconstruction.mounts
        rigged["rig"] = {
            "rotation": rig.rotation[mount].tolist(),
            "translation": rig.translation[mount].tolist(),
            "known": all(rig.known),
            "metric": rig.metric,
            "lightOfWorld": reconstruction.light_of_world,
        }
    return {
        "schemaVersion": SCHEMA_VERSION,
        "K": camera.intrinsics[0].tolist(),
        "width": frame.width,
        "height": frame.height,
        "rotation": rotation_vector(camera.turn[0]).tolist(),
        "translation": camera.translation[0].tolist(),
        "photoToImage": frame.photo_to_image.tolist(),
        **rigged,
        "sh": {
            "bands": reconstruction.bands,
            "coefficients": reconstruction.light_coefficients()[0].tolist(),
        },
        "model": {
            "name": reconstruction.model.name,
            "identity": parameters.identity[0].tolist(),
            "expression": parameters.expression[0].tolist(),
            "albedo": parameters.albedo[0].tolist(),
        },
        "files": files,
    }


def _neutral(reconstruction: Reconstruction) -> Mesh:
    """The person's head at rest."""
    model = reconstruction.model
    vertices = neutral_vertices(model, reconstruction.parameters.identity)
    return Mesh.from_vertices(vertices, model.triangles, model.uvs, model.uv_triangles)
