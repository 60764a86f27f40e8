"""Universal Scene Description, through the package usd-core."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nextface.errors import MissingPartError
from nextface.export.registry import ExportFormat, ExportOptions

if TYPE_CHECKING:
    from nextface.person.reconstruction import Reconstruction


def _check() -> None:
    if find_spec("pxr") is None:
        raise MissingPartError("USD is written with the package usd-core: pip install 'nextface[usd]'.")


def _write_layer(path: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.usd.scene import write_layer

    write_layer(path, reconstruction, options.photo, options.resolution)


def _write_package(path: Path, reconstruction: Reconstruction, options: ExportOptions) -> None:
    from nextface.export.formats.usd.scene import write_package

    write_package(path, reconstruction, options.photo, options.resolution)


FORMATS = (
    ExportFormat("usda", "USD scene as text, with maps and light beside it", ".usda", _write_layer, _check),
    ExportFormat("usdz", "USD scene in one file", ".usdz", _write_package, _check),
)
