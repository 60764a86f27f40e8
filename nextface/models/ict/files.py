"""Which files the face model `ict` is read from."""

from __future__ import annotations

from nextface.model_files.git_folder import GitFolder
from nextface.model_files.offer import Licence, Offer
from nextface.model_files.wanted import Wanted

NAME = "ict"
FILES = Wanted(
    ("FaceXModel", "ICT-FaceKit/FaceXModel", "ICT-FaceKit-master/FaceXModel"),
    "ICT-FaceKit's light model, a folder of OBJ files",
    "https://github.com/ICT-VGL/ICT-FaceKit (MIT licence, no form: `nextface model fetch ict`, or clone it, or "
    "unpack its ZIP archive)",
)
OFFER = Offer(
    FILES.what,
    Licence(
        "MIT licence",
        "Copyright (c) 2020 USC Institute for Creative Technologies",
        "https://github.com/ICT-VGL/ICT-FaceKit/blob/master/LICENSE",
        "You may use, change and pass it on, for money too, as long as its notice stays with every copy. It "
        "comes without warranty, and its owners are liable for nothing.",
    ),
    GitFolder(
        "https://github.com/ICT-VGL/ICT-FaceKit",
        "da5f95a607f5e6b37755b38d3385d7f2853732e5",
        "FaceXModel",
        "LICENSE",
        "about 400 MB",
    ),
)
