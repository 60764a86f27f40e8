"""The face model `basel2009`: the Basel Face Model of 2009 with the expressions of 3DFace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextface.models.basel2009.files import NAME
from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.models.linear_head import LinearHead


def _create(device: str, folder: str) -> LinearHead:
    from nextface.models.basel2009.model import load_basel2009

    return load_basel2009(folder).to(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    return f"{model.identity_size} identity, {len(model.expression_names)} expression components."


MODEL = ModelEntry(
    name=NAME,
    help="files you obtain yourself",
    create=_create,
    examine=_examine,
)
