"""Colour TIFFs of floating-point numbers, which Pillow does not know and OpenCV reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_STARTS = (b"II*\0", b"MM\0*")
_CHANNELS, _KIND, _FLOATS = 0x0115, 0x0153, 3


def float_tiff_tags(data: bytes) -> Image.Exif | None:
    """The tags of a TIFF with three or four channels of floats; None of any other file.

    A TIFF's tags and EXIF data are the same structure.
    """
    from PIL import Image

    if data[:4] not in _STARTS:
        return None
    tags = Image.Exif()
    tags.load(data)
    kinds = tags.get(_KIND)
    floats = kinds == _FLOATS or (isinstance(kinds, tuple) and set(kinds) == {_FLOATS})
    return tags if floats and tags.get(_CHANNELS) in (3, 4) else None


def float_tiff_pixels(data: bytes) -> np.ndarray:
    """RGB or RGBA values [H, W, 3 or 4] float32 of such a file, as they are stored.

    Raises
    ------
    ValueError: they are stored in a way that OpenCV does not read, or cut short.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.dtype not in (np.float32, np.float64):
        raise ValueError("its floating-point numbers cannot be read; 16 bits for each colour can")
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return pixels[..., order].astype(np.float32)
