"""Backends that draw scenes, each in a folder of its own and behind the protocol of `renderers.renderer`.

A new backend is a new folder whose `__init__` holds a `renderers.registry.Backend` named `BACKEND`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from nextface.errors import ConfigError, MissingPartError
from renderers.registry import Backend, backends
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.renderer import Renderer

__all__ = ["Backend", "available", "backends", "create"]


def create(name: str, settings: Settings | None = None) -> Renderer:
    """Build the backend of the INI key `renderer`.

    Parameters
    ----------
    name: one of `backends()`.
    settings: what to build it with, the defaults where absent.

    Raises
    ------
    ConfigError: for an unknown name.
    MissingPartError: when a part of the backend is not here; the message says how to get it.
    """
    names = list(backends())
    if name not in names:
        nearest = get_close_matches(name.lower(), names, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"renderer = {name}: no such backend. Did you mean {nearest}? There are {', '.join(names)}."
        )
    renderer: Renderer = backends()[name].create(settings or Settings())
    return renderer


def available() -> dict[str, str | None]:
    """Each backend's name, with None where it works here and else the reason why it does not."""
    found: dict[str, str | None] = {}
    for name, backend in backends().items():
        try:
            backend.check()
            found[name] = None
        except MissingPartError as error:
            found[name] = str(error)
    return found
