"""The head as in one photo: millimetres, x to the subject's left, y up, z to where the face looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nextface.export.files import write_png
from nextface.export.head.surface import exported_maps
from nextface.export.mesh import write_obj
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Scene
from nextface.scene.baking import sample_map
from nextface.scene.colour import linear_to_srgb
from nextface.scene.corners import MeshCorners
from nextface.system.atomic import replacing


@torch.no_grad()
def write_textured_obj(path: Path, reconstruction: Reconstruction, photo: int, resolution: int | None) -> None:
    """Write NAME.obj with NAME.mtl and the maps NAME_*.png; without maps for a model without UVs."""
    maps = exported_maps(reconstruction, resolution)
    names = {}
    if maps is not None:
        names = {kind: f"{path.stem}_{kind}.png" for kind in ("diffuse", "specularColour", "roughness")}
        write_png(path.with_name(names["diffuse"]), linear_to_srgb(maps.diffuse[0].numpy()))
        write_png(
            path.with_name(names["specularColour"]), linear_to_srgb(maps.specular[0].numpy().repeat(3, -1))
        )
        write_png(path.with_name(names["roughness"]), maps.roughness[0, ..., 0].numpy(), bits=16)
    write_obj(path, reconstruction.scene(photo).mesh, names)


@torch.no_grad()
def write_ply(path: Path, reconstruction: Reconstruction, photo: int) -> None:
    """Write NAME.ply, binary, with normals and sRGB-encoded diffuse albedo at the vertices."""
    import trimesh

    scene = reconstruction.scene(photo)
    colours = np.round(255 * linear_to_srgb(vertex_diffuse(scene).clamp(0, 1).numpy())).astype(np.uint8)
    mesh = trimesh.Trimesh(
        scene.mesh.vertices[0].numpy(),
        scene.mesh.triangles.numpy(),
        vertex_normals=scene.mesh.normals[0].numpy(),
        vertex_colors=colours,
        process=False,
    )
    content = mesh.export(file_type="ply", vertex_normal=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def vertex_diffuse(scene: Scene) -> Tensor:
    """Diffuse albedo [V, 3] at the vertices; on seams of the map, that of one side."""
    mesh, diffuse = scene.mesh, scene.material.diffuse
    corners = MeshCorners.of(mesh)
    if not scene.material.is_mapped or corners.uv is None or mesh.uvs is None:
        return diffuse[0]
    values = torch.zeros(mesh.vertices.shape[1], 3)
    values[corners.vertex] = sample_map(diffuse, mesh.uvs[corners.uv])[0]
    return values
