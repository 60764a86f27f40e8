"""Reading a light: a latitude-longitude picture of the surroundings, as docs/conventions.md has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.errors import LightError
from nextface.photos.image_file import decode_image
from nextface.scene.colour import srgb_to_linear

HIGH_RANGE = (".exr", ".hdr")
LOW_RANGE = (".png", ".jpg", ".jpeg", ".webp")
MOST_BYTES = 512 << 20  # of the file
MOST_ROWS = 8192  # of the picture in it
MOST_HEADER = 64 << 10  # bytes of a Radiance HDR file before its pixels
ROWS = 256  # of what is drawn with; larger pictures are averaged down, which keeps their light


@dataclass(frozen=True)
class LoadedLight:
    """A light of a file, and what its user should know of it."""

    radiance: Tensor  # [1, H, 2H, 3] float32, linear
    notes: tuple[str, ...]


def read_light(path: Path) -> LoadedLight:
    """Read a light from an OpenEXR, Radiance HDR, PNG, JPEG or WebP file.

    Raises
    ------
    LightError: if the file is missing, damaged, too large, not twice as wide as high, black, or holds values
        that no light has: negative ones, infinite ones or none at all (NaN).
    PhotoError: if a PNG, JPEG or WebP file is damaged or too large.
    """
    kind = path.suffix.lower()
    if kind not in (*HIGH_RANGE, *LOW_RANGE):
        raise LightError(f"{path}: a light is an .exr, .hdr, .png, .jpg or .webp file.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise LightError(f"There is no light {path} ({error.strerror}). Check its spelling.") from None
    if size > MOST_BYTES:
        raise LightError(f"{path} is larger than {MOST_BYTES >> 20} MB. Save it with fewer pixels.")
    if kind in LOW_RANGE:
        pixels = srgb_to_linear(decode_image(path, "light").srgb)
        _check_size(pixels.shape[1], pixels.shape[0], path)
    else:
        _check_size(*(_exr_size(path) if kind == ".exr" else _hdr_size(path)), path)
        pixels = _exr(path) if kind == ".exr" else _hdr(path)
    height, notes = len(pixels), []
    if kind in LOW_RANGE:
        notes.append(
            f"{path.name} has a low dynamic range: lamps in it are no brighter than white, so shadows are "
            "softer and highlights weaker than under the real light. An .exr or .hdr file has the whole range."
        )
    _check(pixels, path)
    if height > ROWS:
        pixels = cv2.resize(pixels, (2 * ROWS, ROWS), interpolation=cv2.INTER_AREA)
    return LoadedLight(torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))[None], tuple(notes))


def _check_size(width: int, height: int, path: Path) -> None:
    """Refuse a picture by what its header says, before there is memory for its pixels."""
    if width != 2 * height:
        raise LightError(
            f"{path} is {width} x {height} pixels. A light is a latitude-longitude picture, twice as wide as "
            "high: convert a cube map or a mirror ball first."
        )
    if height > MOST_ROWS:
        raise LightError(f"{path} has {height} rows, more than {MOST_ROWS}. Save it with fewer.")


def _check(pixels: np.ndarray, path: Path) -> None:
    for what, wrong in {
        "are not finite (NaN or infinite)": ~np.isfinite(pixels),
        "are negative": pixels < 0,
    }.items():
        if count := int(wrong.any(-1).sum()):
            row, column = np.argwhere(wrong.any(-1))[0]
            raise LightError(
                f"{path}: {count} pixels {what}, the first in row {row}, column {column}. No light does that: "
                "repair the picture, or save it again from its source."
            )
    if not pixels.max() > 0:
        raise LightError(f"{path} is black: nothing would be seen under it.")


def _exr_size(path: Path) -> tuple[int, int]:
    """Width and height of an OpenEXR file's data window, as its header says."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), header_only=True) as file:
            low, high = (np.asarray(corner, np.int64) for corner in file.header()["dataWindow"])
    except Exception as error:  # the library raises whatever its parts do
        raise LightError(f"{path} cannot be read as OpenEXR ({error}). Is it damaged?") from None
    width, height = (high - low + 1).tolist()
    return width, height


def _hdr_size(path: Path) -> tuple[int, int]:
    """Width and height of a Radiance HDR file, as the line after its header says."""
    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    found = re.search(rb"\n\n[-+]([XY]) (\d{1,9}) [-+]([XY]) (\d{1,9})\n", head)
    if not head.startswith(b"#?") or found is None or found[1] == found[3]:
        raise LightError(f"{path} cannot be read as Radiance HDR. Is it damaged?")
    sides = {found[1]: int(found[2]), found[3]: int(found[4])}
    return sides[b"X"], sides[b"Y"]


def _exr(path: Path) -> np.ndarray:
    """The RGB (or grey) channels of an OpenEXR file, [H, W, 3] float32."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            found = file.channels().items()
            channels = {name: np.asarray(channel.pixels, np.float32) for name, channel in found}
    except Exception as error:  # the library raises whatever its parts do
        raise LightError(f"{path} cannot be read as OpenEXR ({error}). Is it damaged?") from None
    names = next((names for names in ("RGB", "YYY") if set(names) <= channels.keys()), None)
    if names is None or len({channels[name].shape for name in names}) != 1:
        told = ", ".join(sorted(channels))
        raise LightError(f"{path} has the channels {told}, and not R, G, B of one size.")
    return np.stack([channels[name] for name in names], -1)


def _hdr(path: Path) -> np.ndarray:
    """The pixels of a Radiance HDR file, [H, W, 3] float32 RGB."""
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    except (cv2.error, OSError) as error:
        raise LightError(f"{path} cannot be read ({error}).") from None
    if pixels is None or pixels.dtype != np.float32:
        raise LightError(f"{path} cannot be read as Radiance HDR. Is it damaged?")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
