"""Relightable 3D faces from a single photo, by differentiable ray tracing.

from nextface import Config, reconstruct

reconstruct("portrait.jpg", "output", Config())
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers take it; importing it would take a `typing.py` in the current folder
if TYPE_CHECKING:
    from nextface.config import Config
    from nextface.runs.engine import reconstruct, reconstruct_shared
    from nextface.runs.folder_run import reconstruct_folder
    from nextface.runs.multiview import reconstruct_moment

__version__ = "0.1.0"
__all__ = [
    "Config",
    "__version__",
    "reconstruct",
    "reconstruct_folder",
    "reconstruct_moment",
    "reconstruct_shared",
]

_HOMES = {
    "Config": "nextface.config",
    "reconstruct": "nextface.runs.engine",
    "reconstruct_folder": "nextface.runs.folder_run",
    "reconstruct_moment": "nextface.runs.multiview",
    "reconstruct_shared": "nextface.runs.engine",
}


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that `import nextface` stays instant."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nextface' has no attribute '{name}'")
