"""Which formats a person is exported to: each folder in `formats` says in its `FORMATS` what it writes.

Names and words are read without importing what a format is written with.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

RESOLUTIONS = (256, 512, 1024, 2048, 4096)  # texels a side of exported maps
DEPTHS = ("8", "16", "exr")  # of exported maps: bits of a PNG, or 32-bit floats


@dataclass(frozen=True)
class ExportOptions:
    """What somebody wants of an export; each format takes what concerns it."""

    photo: int = 0  # whose expression, pose, camera and light
    resolution: int | None = None  # texels a side of the maps; None: as they were fitted
    depth: str = "8"  # one of DEPTHS


@dataclass(frozen=True)
class ExportFormat:
    """A format; its functions import what they need when they are called."""

    name: str  # on the command line and in the INI key `exportFormats`
    help: str  # what it is for, in some words for a list
    suffix: str  # of its main file; empty for a folder of files
    # The path of the main file or the folder, and a `person.reconstruction.Reconstruction`:
    write: Callable[[Path, Any, ExportOptions], None]
    check: Callable[[], None] = lambda: None  # raises MissingPartError where a package is not here


@cache
def export_formats() -> Mapping[str, ExportFormat]:
    """Every format by its name, in the order of names."""
    rooms = import_module("nextface.export.formats")
    folders = [module.name for module in pkgutil.iter_modules(rooms.__path__) if module.ispkg]
    found: list[ExportFormat] = []
    for folder in folders:
        found += import_module(f"{rooms.__name__}.{folder}").FORMATS
    return MappingProxyType({one.name: one for one in sorted(found, key=lambda one: one.name)})
