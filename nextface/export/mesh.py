"""The face's mesh as Wavefront OBJ with its material."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nextface.scene import Mesh
from nextface.system.atomic import replacing


def write_obj(path: Path, mesh: Mesh, maps: Mapping[str, str] | None = None) -> None:
    """Write one photo's mesh (N = 1) in model space (mm, y up) with normals, UVs and, given maps, an .mtl.

    Parameters
    ----------
    maps: names of files beside the mesh by kind: "diffuse", "roughness", and for F0 as a colour
        "specularColour".
    """
    vertices = mesh.vertices[0].detach().cpu().numpy()
    normals = mesh.normals[0].detach().cpu().numpy()
    corners = mesh.triangles.cpu().numpy() + 1
    parts = ["# millimetres, x right, y up, z towards the viewer\n"]
    if maps:
        parts.append(f"mtllib {path.stem}.mtl\nusemtl face\n")
        _write_material(path.with_suffix(".mtl"), maps)
    parts.append(_lines("v %.4f %.4f %.4f\n", vertices))
    if mesh.uvs is not None and mesh.uv_triangles is not None:
        parts.append(_lines("vt %.6f %.6f\n", mesh.uvs.cpu().numpy()))
        columns = np.stack([corners, mesh.uv_triangles.cpu().numpy() + 1, corners], -1)
        faces = _lines("f %d/%d/%d %d/%d/%d %d/%d/%d\n", columns)
    else:
        faces = _lines("f %d//%d %d//%d %d//%d\n", corners.repeat(2, axis=1))
    parts += [_lines("vn %.5f %.5f %.5f\n", normals), faces]
    with replacing(path) as temporary:
        temporary.write_text("".join(parts), encoding="utf-8", errors="surrogateescape")


def _lines(pattern: str, rows: np.ndarray) -> str:
    """A line for each row [N, ...] of numbers; all at once, which takes a third of the time."""
    return pattern * len(rows) % tuple(rows.ravel().tolist())


def _write_material(path: Path, maps: Mapping[str, str]) -> None:
    """An .mtl with the physically based keywords that Blender and others read (Pr: roughness, Pm: metal)."""
    f0 = "1 1 1" if "specularColour" in maps else "0.04 0.04 0.04"
    lines = ["newmtl face", "Kd 1 1 1", f"Ks {f0}", "Ns 30", "Pr 1", "Pm 0", "illum 2"]
    lines += [f"map_Kd {maps['diffuse']}", f"map_Pr {maps['roughness']}"]
    lines += [f"map_Ks {maps['specularColour']}"] if "specularColour" in maps else []
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
