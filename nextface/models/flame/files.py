"""Which files the face model `flame` is read from."""

from __future__ import annotations

from nextface.model_files.wanted import Wanted

NAME = "flame"
_SITE = "https://flame.is.tue.mpg.de (register, accept the licence, Download)"
_STEMS = ("flame2023", "flame2023_no_jaw", "FLAME2023", "flame2020", "FLAME2020", "generic_model")
FILES = Wanted(
    tuple(
        f"{folder}{stem}.{ending}"
        for ending in ("pkl", "npz", "safetensors")
        for stem in _STEMS
        for folder in ("", "flame/", "FLAME2023/", "FLAME2020/")
    ),
    "the head model FLAME (one of its pickles, or the same arrays as .npz or .safetensors)",
    _SITE,
)
ALBEDO = Wanted(
    ("albedoModel2020_FLAME_albedoPart.npz", "flame/albedoModel2020_FLAME_albedoPart.npz"),
    "AlbedoMM's part for FLAME",
    "https://github.com/waps101/AlbedoMM/releases",
)
TEXTURE = Wanted(("FLAME_texture.npz", "flame/FLAME_texture.npz"), "FLAME's texture space", _SITE)
