"""A face that was carried to another model, as files: its mesh, its coefficients, what they leave in mm."""

from __future__ import annotations

import json
from pathlib import Path

from nextface.completion.conversion import Converted, converted_face
from nextface.export.mesh import write_obj
from nextface.models.face_model import FaceModel
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Mesh
from nextface.system.atomic import filling, replacing


def write_converted(reconstruction: Reconstruction, model: FaceModel, folder: Path) -> list[str]:
    """Write the face of each photo in another model, all files or none; returns what to tell of each.

    Raises
    ------
    OutputError: if a file cannot be written.
    """
    with filling(folder) as new:
        return [_write(reconstruction[photo], photo, model, new) for photo in range(len(reconstruction))]


def _write(shown: Reconstruction, photo: int, model: FaceModel, folder: Path) -> str:
    """Write the mesh and coefficients of one photo; returns what to tell of it."""
    parameters = shown.parameters
    found = converted_face(shown.model, parameters.identity, parameters.expression, model)
    mesh = Mesh.from_vertices(found.vertices, model.triangles, model.uvs, model.uv_triangles)
    write_obj(folder / f"mesh{photo}.obj", mesh)
    figures = _figures(found)
    content = {
        "model": model.name,
        "from": shown.model.name,
        "identity": found.identity[0].tolist(),
        "expression": dict(zip(model.expression_names, found.expression[0].tolist(), strict=True)),
        "residualMm": figures,
    }
    with replacing(folder / f"coefficients_{photo}.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return (
        f"photo {photo}: {model.name} is {figures['median']:.2f} mm (median) and "
        f"{figures['p95']:.2f} mm (95 %) from the face"
    )


def _figures(found: Converted) -> dict[str, float]:
    return {
        "median": float(found.residual.median()),
        "rms": float(found.residual.square().mean().sqrt()),
        "p95": float(found.residual.quantile(0.95)),
    }
