"""Which face models there are: each folder beside this module whose `MODEL` says what it is.

Names and words are read without importing what a model computes with.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ModelEntry:
    """What a face model's folder says of it; its functions import what they need when they are called."""

    name: str  # of the INI key `morphableModel`
    help: str  # what it is, in some words for a list
    create: Callable[[str, str], Any]  # device, folder of the user's files -> `face_model.FaceModel`
    examine: Callable[[str], str]  # folder -> what works, for `nextface doctor`; raises what is wrong
    offer: Callable[[], Any] | None = (
        None  # -> `model_files.offer.Offer`, where the licence lets anybody fetch it
    )
    # model, identity [1, K], expression [E], turn [3, 3] and place [3] (mm) in the world -> a head's parameters
    # by the names that programs for this model know, "translation" [1, 3] (m) among them
    parameters: Callable[[Any, Any, Any, Any, Any], dict[str, Any]] | None = None


@cache
def face_models() -> Mapping[str, ModelEntry]:
    """Every face model by its name, in the order of names."""
    folders = [
        module.name
        for module in pkgutil.iter_modules(import_module("nextface.models").__path__)
        if module.ispkg
    ]
    found: list[ModelEntry] = [import_module(f"nextface.models.{folder}").MODEL for folder in folders]
    return MappingProxyType({model.name: model for model in sorted(found, key=lambda one: one.name)})
