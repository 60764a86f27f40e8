"""The face model `basel2017`: the Basel Face Models of 2017 and 2019 with the albedo of AlbedoMM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextface.models.basel2017.files import NAME
from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.models.linear_head import LinearHead


def _create(device: str, folder: str) -> LinearHead:
    from nextface.models.basel2017.model import load_basel

    return load_basel(folder).to(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    return f"{model.identity_size} identity and {model.albedo_size} albedo components."


MODEL = ModelEntry(
    name=NAME,
    help="files you obtain yourself",
    create=_create,
    examine=_examine,
)
