"""glTF 2.0."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _write(path: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.gltf.head import write_glb

    write_glb(path, reconstruction, options.photo, options.resolution)


FORMATS = (ExportFormat("glb", "glTF 2.0 with expressions, for engines and web pages", ".glb", _write),)
