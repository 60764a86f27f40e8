"""The fitted light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _write(folder: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.light.files import write_light

    write_light(folder, reconstruction, options.photo)


FORMATS = (ExportFormat("light", "the photo's light as maps and spherical harmonics", "", _write),)
