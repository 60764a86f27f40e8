"""The Basel Face Model 2017 with AlbedoMM: named, so that its advice is given. Its loader is to come."""

from __future__ import annotations

from typing import NoReturn

from nextface.errors import MissingPartError
from nextface.models.registry import ModelEntry

FILES = ("model2017-1_face12_nomouth.h5", "albedoModel2020_face12_albedoPart.h5")


def _create(device: str, folder: str) -> NoReturn:
    shape, albedo = FILES
    raise MissingPartError(
        "morphableModel = basel2017 needs two files that its owners license to each user: "
        f"{shape} from the Basel Face Model site (https://faces.dmi.unibas.ch/bfm/) and "
        f"{albedo} from AlbedoMM (https://github.com/waps101/AlbedoMM). They go to the folder "
        f"{folder}/. The loader for them comes with a later release; until then use "
        "morphableModel = open."
    )


def _examine(folder: str) -> NoReturn:
    _create("cpu", folder)


MODEL = ModelEntry(
    name="basel2017",
    help="files you obtain yourself",
    create=_create,
    examine=_examine,
)
