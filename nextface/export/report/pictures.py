"""Pictures as text that a page carries within itself."""

from __future__ import annotations

import io
from base64 import b64encode

import numpy as np
from PIL import Image

LONGEST_SIDE = 1024  # pixels; larger pictures are reduced
QUALITY = 90  # of lossy WebP
DIFFERENCE_GAIN = 4  # the page says so


def as_8_bits(pixels: np.ndarray) -> np.ndarray:
    """8-bit pixels of 8- or 16-bit ones."""
    return pixels if pixels.dtype == np.uint8 else np.round(pixels / 257).astype(np.uint8)


def data_address(pixels: np.ndarray) -> str:
    """An address that holds a picture itself (WebP): [H, W], [H, W, 3] or [H, W, 4], of 8 or 16 bits."""
    image = Image.fromarray(as_8_bits(pixels))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    stored = io.BytesIO()
    image.save(stored, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{b64encode(stored.getvalue()).decode('ascii')}"


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """DIFFERENCE_GAIN times the absolute difference of two 8-bit pictures [H, W, 3]."""
    apart = np.abs(first.astype(np.int16) - second.astype(np.int16))
    return np.minimum(DIFFERENCE_GAIN * apart, 255).astype(np.uint8)
