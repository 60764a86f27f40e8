"""Which files the face model `basel2017` is read from."""

from __future__ import annotations

from nextface.model_files.wanted import Wanted

NAME = "basel2017"
SHAPE = Wanted(
    (
        "model2017-1_face12_nomouth.h5",
        "model2017-1_bfm_nomouth.h5",
        "model2019_face12.h5",
        "model2019_bfm.h5",
        "model2019_fullHead.h5",
    ),
    "the Basel Face Model of 2017 or 2019, cropped to the face or the full head",
    "https://faces.dmi.unibas.ch/bfm/ (fill in the form of the 2017 or 2019 model; the link comes by e-mail)",
)
ALBEDO = Wanted(
    ("albedoModel2020_face12_albedoPart.h5", "albedoModel2020_bfm_albedoPart.h5"),
    "AlbedoMM, the albedo of the same mesh",
    "https://github.com/waps101/AlbedoMM/releases (no form)",
)
