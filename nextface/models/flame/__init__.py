"""The face model `flame`: FLAME, with jaw, neck and eyes that turn (Li et al., 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nextface.models.flame.files import NAME
from nextface.models.registry import ModelEntry

if TYPE_CHECKING:
    from nextface.models.skinned_head import SkinnedHead


def _create(device: str, folder: str) -> SkinnedHead:
    from nextface.models.flame.model import load_flame

    return load_flame(folder).to(device)


def _examine(folder: str) -> str:
    model = _create("cpu", folder)
    texture = f", {model.albedo_size} albedo components" if model.albedo_size else ""
    return f"{model.identity_size} identity components, {len(model.joint_names)} joints{texture}."


def _parameters(*moment: Any) -> dict[str, Any]:
    from nextface.models.flame.parameters import flame_parameters

    return flame_parameters(*moment)


MODEL = ModelEntry(
    name=NAME,
    help="FLAME, a file you obtain yourself",
    create=_create,
    examine=_examine,
    parameters=_parameters,
)
