"""Which backends there are: each folder beside this module whose `BACKEND` says what it is.

Names and words are read without importing what a backend draws with.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

import renderers
from nextface.errors import ConfigError, MissingPartError
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.renderer import Renderer


@dataclass(frozen=True)
class Backend:
    """What a backend's folder says of it; its functions import what they need when they are called."""

    name: str  # of the INI key `renderer`
    help: str  # what it is, in some words for a list
    create: Callable[[Settings], Renderer]  # raises MissingPartError where a part is not here
    check: Callable[[], None]  # raises MissingPartError where it cannot start here; quicker than `create`
    examinations: Mapping[str, Callable[[], str]]  # by titles, for `nextface doctor`: what works, or an error
    hint: str  # what mends it where an examination's error does not say
    draws_with_torch: bool = False  # on torch's device and threads; others bring their own


@cache
def backends() -> Mapping[str, Backend]:
    """Every backend by its name, in the order of names."""
    folders = [module.name for module in pkgutil.iter_modules(renderers.__path__) if module.ispkg]
    found: list[Backend] = [import_module(f"renderers.{folder}").BACKEND for folder in folders]
    return MappingProxyType({backend.name: backend for backend in sorted(found, key=lambda one: one.name)})


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
    return backends()[name].create(settings or Settings())


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
