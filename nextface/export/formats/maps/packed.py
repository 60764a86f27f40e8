"""Reflectance maps as the materials of engines take them, one channel each and packed.

There is no map of occlusion or metal: skin has none, and occlusion is the engine's to compute; packed maps hold
what changes nothing there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextface.errors import ResultError
from nextface.export.files import write_exr, write_png
from nextface.export.head.normals import encoded_normals, smooth_normals
from nextface.export.head.surface import exported_maps, under_fresnel
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.scene.colour import linear_to_srgb
from nextface.scene.reflectance import SPECULAR_RANGE

COLOURS = ("baseColor", "baseColorUnderFresnel", "specularColor")  # sRGB-encoded in a PNG, else all is linear

NORMALS = {"OpenGL": False, "DirectX": True}  # whether green points down the map


def write_packed_maps(folder: Path, reconstruction: Reconstruction, resolution: int | None, depth: str) -> None:
    """Write all of `packed_maps` and both normal maps as PNG of 8 or 16 bits, or as OpenEXR.

    Raises
    ------
    ResultError: for a face model without UVs.
    """
    maps = exported_maps(reconstruction, resolution)
    if maps is None:
        raise ResultError(
            f"The face model '{reconstruction.model.name}' has no UV coordinates, so there are no maps. "
            "Its colours are in the formats glb and ply, at the vertices."
        )
    normals = smooth_normals(reconstruction, maps.diffuse.shape[1])
    bent = {f"normal{name}": encoded_normals(normals, down) for name, down in NORMALS.items()}
    for name, values in (packed_maps(maps) | bent).items():
        if depth == "exr":
            write_exr(folder / f"{name}.exr", values)
        else:
            encoded = linear_to_srgb(values) if name in COLOURS else values
            write_png(folder / f"{name}.png", encoded, bits=int(depth))


def packed_maps(maps: Material) -> dict[str, np.ndarray]:
    """Linear values [H, W], [H, W, 3] or [H, W, 4] by name.

    baseColor, specular (F0 / 0.08) and roughness are the material of Unreal's default lit shading, which adds
    its lobes as ours does. ORM: occlusion, roughness, metal. MaskMap (Unity HDRP): metal, occlusion, detail
    mask, smoothness. specularColor is F0. baseColorUnderFresnel is for targets that draw (1 - F) of the diffuse
    lobe.
    """
    diffuse, specular, roughness, under = (
        values[0].double().numpy()
        for values in (maps.diffuse, maps.specular, maps.roughness, under_fresnel(maps).diffuse)
    )
    none, all_ = np.zeros_like(roughness), np.ones_like(roughness)
    return {
        "baseColor": diffuse,
        "baseColorUnderFresnel": under,
        "specular": specular[..., 0] / SPECULAR_RANGE[1],
        "specularColor": specular.repeat(3, -1),
        "roughness": roughness[..., 0],
        "ORM": np.concatenate([all_, roughness, none], -1),
        "MaskMap": np.concatenate([none, all_, none, 1 - roughness], -1),
    }
