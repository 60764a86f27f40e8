"""Reflectance maps in the channels that engines read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _write(folder: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.maps.packed import write_packed_maps

    write_packed_maps(folder, reconstruction, options.resolution, options.depth)


FORMATS = (ExportFormat("maps", "reflectance maps for Unreal, Unity and others", "", _write),)
