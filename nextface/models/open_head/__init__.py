"""The face model `open`, which ships with the package; its parts are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.models.open_head.model import (
        DATA,
        LANDMARK_ERRORS,
        LANDMARKS,
        OpenHead,
        load_open_head,
    )

__all__ = ["DATA", "LANDMARKS", "LANDMARK_ERRORS", "MODEL", "OpenHead", "load_open_head"]


def _create(device: str, folder: str) -> OpenHead:
    from nextface.models.open_head.model import load_open_head

    return load_open_head(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    return f"Ships with NextFace: {len(model.triangles)} triangles, {model.identity_size} identity components."


MODEL = ModelEntry(
    name="open",
    help="ships with this package",
    create=_create,
    examine=_examine,
)


def __getattr__(name: str) -> object:
    """Import what computes on first use, so that settings and help do not wait for it."""
    if name in __all__:
        return getattr(import_module("nextface.models.open_head.model"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
