"""Face models: coefficients in, vertices and reflectance out. `create` builds one by its INI name.

A new face model is a new folder whose `__init__` holds a `nextface.models.registry.ModelEntry` named `MODEL`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nextface.errors import ConfigError
from nextface.models.registry import ModelEntry, face_models

if TYPE_CHECKING:
    from nextface.models.face_model import FaceModel

__all__ = ["ModelEntry", "create", "face_models"]


def create(name: str, device: str = "cpu", folder: str = "baselMorphableModel") -> FaceModel:
    """The face model that the INI key `morphableModel` names, with its tensors on `device`.

    `folder` is where models that a user must obtain are looked for.

    Raises
    ------
    MissingPartError: for a model whose files or loader are not here.
    ConfigError: for a name that no model has.
    """
    models = face_models()
    if name not in models:
        raise ConfigError(f"morphableModel = {name} is not known; choose one of: {', '.join(models)}.")
    model: FaceModel = models[name].create(device, folder)
    return model
