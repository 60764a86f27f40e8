"""Which files the face model `ict` is read from."""

from __future__ import annotations

from nextface.model_files.wanted import Wanted

NAME = "ict"
FILES = Wanted(
    ("FaceXModel", "ICT-FaceKit/FaceXModel", "ICT-FaceKit-master/FaceXModel", "ict_facekit.npz"),
    "ICT-FaceKit's light model, a folder of OBJ files",
    "https://github.com/ICT-VGL/ICT-FaceKit (MIT licence, no form: clone it, or unpack its ZIP archive)",
)
