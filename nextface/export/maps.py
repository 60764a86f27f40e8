"""Reflectance maps as files, in the encodings that engines read."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nextface.export.files import write_png
from nextface.scene import Material
from nextface.scene.colour import linear_to_srgb
from nextface.scene.reflectance import SPECULAR_RANGE


def write_maps(material: Material, folder: Path, confidence: Tensor | None = None) -> dict[str, str]:
    """Write the maps of one person, and what they rest on.

    diffuseMap is sRGB-encoded (8 bits); specularMap holds F0 / 0.08 and roughnessMap roughness, both linear
    with 16 bits. visibility (8 bits) holds the shares seen, mirrored and statistical in red, green and blue.

    Returns
    -------
    File names by kind.
    """
    names = {kind: f"{kind}Map_0.png" for kind in ("diffuse", "specular", "roughness")}
    diffuse, specular, roughness = (
        values[0].detach().cpu().numpy() for values in (material.diffuse, material.specular, material.roughness)
    )
    write_png(folder / names["diffuse"], linear_to_srgb(diffuse))
    write_png(folder / names["specular"], specular[..., 0] / SPECULAR_RANGE[1], bits=16)
    write_png(folder / names["roughness"], roughness[..., 0], bits=16)
    if confidence is not None:
        names["visibility"] = "visibility_0.png"
        write_png(folder / names["visibility"], confidence[0].detach().cpu().numpy())
    return names
