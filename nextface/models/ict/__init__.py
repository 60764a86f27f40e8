"""The face model `ict`: ICT-FaceKit's light model, identities from light-stage scans (MIT licence)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextface.models.ict.files import NAME
from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.model_files.offer import Offer
    from nextface.models.linear_head import LinearHead


def _create(device: str, folder: str) -> LinearHead:
    from nextface.models.ict.model import load_ict

    return load_ict(folder).to(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    return f"{model.identity_size} identity shapes, {len(model.expression_names)} expressions."


def _offer() -> Offer:
    from nextface.models.ict.files import OFFER

    return OFFER


MODEL = ModelEntry(
    name=NAME,
    help="ICT-FaceKit, a folder you fetch",
    create=_create,
    examine=_examine,
    offer=_offer,
)
