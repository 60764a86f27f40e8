"""The picture that was searched for faces, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nextface.landmarks.points import Landmarks, outline_box
from nextface.system.atomic import replacing

LONGEST_SIDE = 1280  # pixels of the saved picture


def save_searched(path: Path, rgb: np.ndarray, faces: Sequence[Landmarks]) -> None:
    """Save an sRGB photo [H, W, 3] uint8 as a PNG with a numbered box around each face.

    Raises
    ------
    OutputError: the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(rgb)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    scale = picture.width / rgb.shape[1]
    draw = ImageDraw.Draw(picture)
    for number, face in enumerate(faces):
        x0, y0, x1, y1 = (value * scale for value in outline_box(face))
        draw.rectangle((x0, y0, x1, y1), outline=(255, 210, 0), width=2)
        draw.text(
            (x0 + 4, y0 + 2),
            str(number),
            fill=(255, 210, 0),
            stroke_width=2,
            stroke_fill=(0, 0, 0),
            font=ImageFont.load_default(size=20),
        )
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
