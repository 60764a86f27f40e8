"""Which files the face model `basel2009` is read from."""

from __future__ import annotations

from nextface.model_files.wanted import Wanted

NAME = "basel2009"
_COARSE_FACES = "https://github.com/Juyong/3DFace (the folder of its coarse model)"
SHAPE = Wanted(
    ("01_MorphableModel.mat", "PublicMM1/01_MorphableModel.mat"),
    "the Basel Face Model of 2009",
    "https://faces.dmi.unibas.ch/bfm/ (fill in the form of the 2009 model; the link comes by e-mail)",
)
EXPRESSION = Wanted(("Exp_Pca.bin",), "the expression basis of 3DFace for the same mesh", _COARSE_FACES)
REGION = Wanted(
    ("BFM_exp_idx.mat",),
    "the index of the face's vertices for which there are expressions (trimIndex)",
    "https://github.com/sicxu/Deep3DFaceRecon_pytorch (its instructions link the folder BFM)",
)
DEVIATIONS = Wanted(("std_exp.txt",), "the expressions' standard deviations", REGION.source)
