"""The face model `gnm`: Google's GNM Head 3, with teeth, tongue and joints (Apache-2.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextface.models.gnm.files import NAME
from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.model_files.offer import Offer
    from nextface.models.skinned_head import SkinnedHead


def _create(device: str, folder: str) -> SkinnedHead:
    from nextface.models.gnm.model import load_gnm

    return load_gnm(folder).to(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    return f"{model.identity_size} identity components, {len(model.component_names)} of expression."


def _offer() -> Offer:
    from nextface.models.gnm.files import OFFER

    return OFFER


MODEL = ModelEntry(
    name=NAME,
    help="GNM Head 3, a file you fetch",
    create=_create,
    examine=_examine,
    offer=_offer,
)
