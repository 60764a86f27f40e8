"""Backends that draw scenes, each in a folder of its own and behind the protocol of `renderers.renderer`.

A new backend is a new folder whose `__init__` holds a `renderers.registry.Backend` named `BACKEND`.
"""

from renderers.registry import Backend, available, backends, create

__all__ = ["Backend", "available", "backends", "create"]
