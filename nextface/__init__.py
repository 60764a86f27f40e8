"""Relightable 3D faces from a single photo, by differentiable ray tracing.

from nextface import Config, reconstruct

reconstruct("portrait.jpg", "output", Config())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextface.config import Config
    from nextface.engine import reconstruct

__version__ = "0.1.0"
__all__ = ["Config", "__version__", "reconstruct"]


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that `import nextface` stays instant."""
    if name == "Config":
        from nextface.config import Config

        return Config
    if name == "reconstruct":
        from nextface.engine import reconstruct

        return reconstruct
    raise AttributeError(f"module 'nextface' has no attribute '{name}'")
