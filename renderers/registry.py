"""Which backends there are: each folder beside this module whose `BACKEND` says what it is.

Names and words are read without importing what a backend draws with.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from renderers.settings import Settings


@dataclass(frozen=True)
class Backend:
    """What a backend's folder says of it; its functions import what they need when they are called."""

    name: str  # of the INI key `renderer`
    help: str  # what it is, in some words for a list
    create: Callable[[Settings], Any]  # a `renderers.renderer.Renderer`; raises MissingPartError
    check: Callable[[], None]  # raises MissingPartError where it cannot start here; quicker than `create`
    examinations: Mapping[str, Callable[[], str]]  # by titles, for `nextface doctor`: what works, or an error
    hint: Callable[[], str]  # what mends it where an examination's error does not say
    draws_with_torch: bool = False  # on torch's device and threads; others bring their own


@lru_cache  # not `cache`: where redner imports, Python is 3.8
def backends() -> Mapping[str, Backend]:
    """Every backend by its name, in the order of names."""
    folders = [
        module.name for module in pkgutil.iter_modules(import_module("renderers").__path__) if module.ispkg
    ]
    found: list[Backend] = [import_module(f"renderers.{folder}").BACKEND for folder in folders]
    return MappingProxyType({backend.name: backend for backend in sorted(found, key=lambda one: one.name)})
