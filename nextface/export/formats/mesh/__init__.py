"""The head of one photo as a plain mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _write_obj(path: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.mesh.plain import write_textured_obj

    write_textured_obj(path, reconstruction, options.photo, options.resolution)


def _write_ply(path: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.mesh.plain import write_ply

    write_ply(path, reconstruction, options.photo)


FORMATS = (
    ExportFormat("obj", "Wavefront mesh with its maps beside it", ".obj", _write_obj),
    ExportFormat("ply", "mesh with colours at its vertices", ".ply", _write_ply),
)
