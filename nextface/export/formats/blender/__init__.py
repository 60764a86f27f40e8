"""Scenes for Blender."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _write(folder: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.blender.folder import write_scene

    write_scene(folder, reconstruction, options.photo, options.resolution)


FORMATS = (ExportFormat("blender", "a script that draws the photo's scene with Cycles", "", _write),)
