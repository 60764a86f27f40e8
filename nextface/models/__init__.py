"""Face models: coefficients in, vertices and reflectance out. `create` builds one by its INI name."""

from __future__ import annotations

from nextface.errors import ConfigError, MissingPartError
from nextface.models.face_model import FaceModel

NAMES = ("open", "basel2017")
BASEL_FILES = ("model2017-1_face12_nomouth.h5", "albedoModel2020_face12_albedoPart.h5")


def create(name: str, device: str = "cpu", folder: str = "baselMorphableModel") -> FaceModel:
    """The face model that the INI key `morphableModel` names, with its tensors on `device`.

    `folder` is where models that a user must obtain are looked for.

    Raises
    ------
    MissingPartError: for a model whose files or loader are not here.
    ConfigError: for a name that no model has.
    """
    if name == "open":
        from nextface.models.open_head import load_open_head

        return load_open_head(device)
    if name == "basel2017":
        shape, albedo = BASEL_FILES
        raise MissingPartError(
            "morphableModel = basel2017 needs two files that its owners license to each user: "
            f"{shape} from the Basel Face Model site (https://faces.dmi.unibas.ch/bfm/) and "
            f"{albedo} from AlbedoMM (https://github.com/waps101/AlbedoMM). They go to the folder "
            f"{folder}/. The loader for them comes with a later release; until then use "
            "morphableModel = open."
        )
    raise ConfigError(f"morphableModel = {name} is not known; choose one of: {', '.join(NAMES)}.")
