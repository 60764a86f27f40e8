"""Images and JSON as files, each written in one step."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nextface.system.atomic import replacing


def write_png(path: Path, image: np.ndarray, bits: int = 8) -> None:
    """Write values in [0, 1], [H, W] or [H, W, 1 | 3 | 4] (RGB order), as an 8- or 16-bit PNG."""
    encoded = png(image, bits)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)  # not by OpenCV, to which some file names are no text


def png(image: np.ndarray, bits: int = 8) -> bytes:
    """An 8- or 16-bit PNG of values in [0, 1], [H, W] or [H, W, 1 | 3 | 4] (RGB order)."""
    scale, kind = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    stored = np.round(np.clip(image, 0, 1) * scale).astype(kind)
    if stored.ndim == 3 and stored.shape[2] >= 3:
        stored = cv2.cvtColor(stored, cv2.COLOR_RGB2BGR if stored.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    written, encoded = cv2.imencode(".png", stored)
    assert written, "any picture of these kinds can be encoded"
    return bytes(encoded.tobytes())


def write_exr(path: Path, image: np.ndarray) -> None:
    """Write linear values [H, W], [H, W, 3] or [H, W, 4] as OpenEXR with 32-bit floats."""
    import OpenEXR

    name = "Y" if image.ndim == 2 else "RGBA"[: image.shape[2]]
    channels = {name: np.ascontiguousarray(image, dtype=np.float32)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    packed = io.BytesIO()
    with OpenEXR.File(header, channels) as file:
        file.write(packed)
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def write_hdr(path: Path, image: np.ndarray) -> None:
    """Write linear radiance [H, W, 3] as Radiance HDR, which holds 8 bits of the largest of three colours."""
    written, encoded = cv2.imencode(".hdr", cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2BGR))
    assert written, "any picture of these kinds can be encoded"
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with readable indentation."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
