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
    maps: file names by kind ("diffuse", "specular", "roughness"), beside the mesh.
    """
    vertices = mesh.vertices[0].detach().cpu().numpy()
    normals = mesh.normals[0].detach().cpu().numpy()
    corners = mesh.triangles.cpu().numpy() + 1
    lines = ["# millimetres, x right, y up, z towards the viewer"]
    if maps:
        lines += [f"mtllib {path.stem}.mtl", "usemtl face"]
        _write_material(path.with_suffix(".mtl"), maps)
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices]
    if mesh.uvs is not None and mesh.uv_triangles is not None:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uvs.cpu().numpy()]
        columns = np.stack([corners, mesh.uv_triangles.cpu().numpy() + 1, corners], -1)
        faces = [f"f {a[0]}/{a[1]}/{a[2]} {b[0]}/{b[1]}/{b[2]} {c[0]}/{c[1]}/{c[2]}" for a, b, c in columns]
    else:
        faces = [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in corners]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in normals]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines + faces) + "\n", encoding="ascii")


def _write_material(path: Path, maps: Mapping[str, str]) -> None:
    """An .mtl with the physically based keywords that Blender and others read (map_Pr: roughness)."""
    lines = ["newmtl face", "Kd 1 1 1", "Ks 0.04 0.04 0.04", "Ns 30", "illum 2"]
    lines += [f"map_Kd {maps['diffuse']}", f"map_Pr {maps['roughness']}"]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
