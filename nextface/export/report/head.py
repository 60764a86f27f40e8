"""A person as a page's 3D view draws it: mesh, expressions, shadows, lights and cameras, as numbers.

This is not a file for other programs, and smaller than one: vertices and offsets are whole steps, offsets are
kept only where an expression moves something, and shadows, which no such file has, lie beside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nextface.export.report.packing import Packed, packed, stepped
from nextface.export.report.shadows import BANDS, bounced_transfer, irradiance_transfer
from nextface.models.bases import expression_offsets, neutral_vertices
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Mesh
from nextface.scene.corners import MeshCorners
from nextface.scene.lighting import positive_kernel
from nextface.scene.prefiltered import TABLE_SIZE, split_sum
from nextface.scene.reflectance import ROUGHNESS_RANGE, SPECULAR_RANGE
from renderers.ray_casting import cast_rays

LEAST_MOVE = 0.02  # mm: an expression's smaller offsets are left out
FINEST = 0.005  # mm: smaller steps would only make the page larger


@torch.no_grad()
def head_in_numbers(reconstruction: Reconstruction, shadows: bool) -> dict[str, Any]:
    """What the page's script reads, as JSON holds it.

    Parameters
    ----------
    shadows: whether the head shadows itself, as the backend that it was fitted with has it. They are the first
        photo's, whatever the expression.

    Raises
    ------
    MissingPartError: when shadows are wanted and the package that finds them is not here.
    """
    model, prior = reconstruction.model, reconstruction.model.expression_prior
    identity = reconstruction[0].parameters.identity
    rest = neutral_vertices(model, identity)
    mesh = Mesh.from_vertices(rest, model.triangles, model.uvs, model.uv_triangles)
    arrays, steps = _mesh_arrays(mesh)
    more, sizes = _expression_arrays(expression_offsets(model, identity[0]).cpu().numpy())
    arrays |= more
    steps |= sizes
    if shadows:
        scene = reconstruction.scene(0)
        transfer = irradiance_transfer(scene, cast_rays(scene))
        bounces = int(reconstruction.metrics.get("maxBounces", 1)) - 1
        if bounces > 0:
            transfer = transfer + bounced_transfer(scene, bounces)
        arrays["transfer"], steps["transfer"] = stepped(transfer.cpu().numpy(), np.int8)
    if reconstruction.shape_deviation is not None:
        deviations = reconstruction.shape_deviation.cpu().numpy()
        arrays["deviation"], steps["deviation"] = stepped(deviations, np.int16)
    table, zonal = split_sum(reconstruction.bands)
    arrays["lobe"], arrays["lobeBands"] = (part.numpy().astype(np.float32) for part in (table, zonal))
    content: Packed = packed(arrays, steps)
    return {
        "block": content.block,
        "arrays": content.arrays,
        "bands": reconstruction.bands,
        "transferBands": BANDS,
        "positiveKernel": positive_kernel(reconstruction.bands).tolist(),
        "tableSize": TABLE_SIZE,
        "roughnessRange": ROUGHNESS_RANGE,
        "specularRange": SPECULAR_RANGE,
        "expressions": [
            {"name": name, "rest": rest, "low": low, "high": high}
            for name, rest, low, high in zip(
                model.expression_names,
                prior.mean.tolist(),
                prior.low.tolist(),
                prior.high.tolist(),
                strict=True,
            )
        ],
        "photos": [_photo_in_numbers(reconstruction[photo]) for photo in range(len(reconstruction))],
    }


def _mesh_arrays(mesh: Mesh) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The head at rest: its vertices, and corners with UV coordinates that its triangles use."""
    corners = MeshCorners.of(mesh)
    vertices, step = stepped(mesh.vertices[0].cpu().numpy(), np.int16, FINEST)
    small = _index_type(len(corners.vertex))
    arrays = {
        "vertices": vertices,
        "cornerVertex": corners.vertex.cpu().numpy().astype(small),
        "triangles": corners.triangles.cpu().numpy().astype(small),
    }
    if mesh.uvs is not None and corners.uv is not None:
        arrays["uvs"] = np.round(mesh.uvs[corners.uv].clamp(0, 1).cpu().numpy() * 65535).astype(np.uint16)
    return arrays, {"vertices": step, "uvs": 1 / 65535}


def _index_type(count: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type that counts so many."""
    return np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32


def _expression_arrays(offsets: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Offsets [E, V, 3] (mm) of moved vertices alone, expression after expression, and how many each moves."""
    moved = np.linalg.norm(offsets, axis=-1) > LEAST_MOVE
    moves, step = stepped(offsets[moved], np.int16, FINEST)
    arrays = {
        "moved": np.nonzero(moved)[1].astype(_index_type(offsets.shape[1])),
        "moves": moves,
        "movedCounts": moved.sum(1).astype(np.uint32),
    }
    return arrays, {"moves": step}


def _photo_in_numbers(reconstruction: Reconstruction) -> dict[str, Any]:
    """Camera, pose, light and expression of one photo (N = 1); frames as in docs/conventions.md."""
    camera, (frame,) = reconstruction.camera(), reconstruction.frames
    return {
        "width": frame.width,
        "height": frame.height,
        "K": camera.intrinsics[0].tolist(),
        "turn": camera.turn[0].tolist(),
        "translation": camera.translation[0].tolist(),
        "light": reconstruction.light_coefficients()[0].tolist(),
        "expression": reconstruction.parameters.expression[0].tolist(),
    }
