"""A folder from which Blender draws the reconstruction again: mesh, maps, light, camera, and a script."""

from __future__ import annotations

from pathlib import Path

import torch

from nextface.errors import ResultError
from nextface.export.files import write_exr, write_json, write_png
from nextface.export.head.light import light_of_head
from nextface.export.head.surface import exported_maps
from nextface.export.mesh import write_obj
from nextface.person.reconstruction import Reconstruction
from nextface.scene.colour import linear_to_srgb
from nextface.scene.reflectance import SPECULAR_RANGE
from nextface.system.atomic import replacing

SCRIPT = Path(__file__).with_name("open_scene.py")  # runs in Blender, not here
BLENDER_SCHEMA_VERSION = 1


@torch.no_grad()
def write_scene(
    folder: Path, reconstruction: Reconstruction, photo: int = 0, resolution: int | None = None
) -> None:
    """Write one photo's scene; its script says how it is run.

    Raises
    ------
    ResultError: for a face model without UVs.
    """
    maps = exported_maps(reconstruction, resolution)
    if maps is None:
        raise ResultError(
            f"The face model '{reconstruction.model.name}' has no UV coordinates, so there are no maps. "
            "Blender opens the format glb, which has its colours at the vertices."
        )
    scene = reconstruction.scene(photo)
    write_obj(folder / "head.obj", scene.mesh)
    write_png(folder / "diffuse.png", linear_to_srgb(maps.diffuse[0].double().numpy()), bits=16)
    write_png(folder / "specular.png", maps.specular[0, ..., 0].numpy() / SPECULAR_RANGE[1], bits=16)
    write_png(folder / "roughness.png", maps.roughness[0, ..., 0].numpy(), bits=16)
    write_exr(folder / "light.exr", light_of_head(reconstruction, photo).radiance[0].cpu().numpy())
    camera = scene.camera
    write_json(
        folder / "scene.json",
        {
            "schemaVersion": BLENDER_SCHEMA_VERSION,
            "K": camera.intrinsics[0].tolist(),
            "width": camera.width,
            "height": camera.height,
            "headToCamera": camera.turn[0].tolist(),  # OpenCV's axes: x right, y down, z forward
            "translation": camera.translation[0].tolist(),  # mm
            "maxBounces": reconstruction.metrics.get("maxBounces", 1),  # older results have direct light
        },
    )
    with replacing(folder / SCRIPT.name) as temporary:
        temporary.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
