"""A photo's light as files for engines, in the frame of the head, in which the exported meshes are, too.

So a mesh and a light that are both dropped into an empty scene show the face as it was lit in the photo.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nextface.export.files import write_exr, write_hdr, write_json
from nextface.export.formats.light.cube import FACES, face_directions
from nextface.export.formats.light.irradiance import unity_irradiance, unreal_irradiance
from nextface.export.head.light import light_of_head
from nextface.person.reconstruction import Reconstruction
from nextface.scene.lighting import sh_basis

LIGHT_SCHEMA_VERSION = 1
HEAD_FRAME = (
    "right-handed; x to the subject's left, y up, z to where the face looks. Directions point to where light "
    "comes from"
)
CAMERA_FRAME = "right-handed; x right in the picture, y up, z towards the photographer"


@torch.no_grad()
def write_light(folder: Path, reconstruction: Reconstruction, photo: int = 0) -> None:
    """Write one photo's light.

    light.exr, light.hdr: latitude-longitude map, linear radiance, laid out as docs/conventions.md says, around
    the head's axes: the centre column looks along +z, as OpenEXR and USD want it. cube_px.hdr to cube_nz.hdr:
    its six faces. light.json: all coefficients, and the irradiance as Unity and Unreal take it.
    """
    environment = light_of_head(reconstruction, photo)
    radiance = environment.radiance[0].cpu().numpy()
    write_exr(folder / "light.exr", radiance)
    write_hdr(folder / "light.hdr", radiance)
    coefficients = environment.coefficients(reconstruction.bands)[0].cpu().double()
    size = environment.map_height // 2
    for name, values in zip(
        FACES, sh_basis(face_directions(size), environment.bands) @ coefficients, strict=True
    ):
        write_hdr(folder / f"cube_{name}.hdr", values.numpy())
    write_json(
        folder / "light.json",
        {
            "schemaVersion": LIGHT_SCHEMA_VERSION,
            "photo": photo,
            "unit": "linear radiance, sRGB primaries; a list [red, green, blue] for each coefficient",
            "sphericalHarmonics": {
                "bands": reconstruction.bands,
                "basis": "real, orthonormal, polar axis z, no Condon-Shortley sign, index l (l + 1) + m",
                "headFrame": HEAD_FRAME,
                "head": _rows(coefficients),
                "cameraFrame": CAMERA_FRAME,
                "camera": _rows(reconstruction[photo].light_coefficients()[0]),
            },
            "unity": {
                "type": "SphericalHarmonicsL2: irradiance / pi by 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2",
                "frame": "left-handed; x to the subject's right, y up, z to where the face looks",
                "coefficients": _rows(unity_irradiance(coefficients)),
            },
            "unreal": {
                "type": "FSHVectorRGB3: radiance, orthonormal, with Condon-Shortley sign",
                "frame": "left-handed; x to the subject's left, y to where the face looks, z up",
                "coefficients": _rows(unreal_irradiance(coefficients)),
            },
        },
    )


def _rows(coefficients: Tensor) -> list[list[float]]:
    rows: list[list[float]] = coefficients.tolist()
    return rows
