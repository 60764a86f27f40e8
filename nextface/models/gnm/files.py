"""Which file the face model `gnm` is read from."""

from __future__ import annotations

from nextface.model_files.wanted import Wanted

NAME = "gnm"
FILES = Wanted(
    ("gnm_head.npz", "gnm/gnm_head.npz", "GNM/gnm/shape/data/versions/v3_0/gnm_head.npz"),
    "Google's GNM Head 3",
    "https://github.com/google/GNM, gnm/shape/data/versions/v3_0/gnm_head.npz (Apache-2.0, no form)",
)
