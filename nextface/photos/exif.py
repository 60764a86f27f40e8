"""When and with what a photo was taken, as its EXIF data tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

_EXIF_IFD = 0x8769
_MAKE, _MODEL = 0x010F, 0x0110
_TAKEN, _FRACTION, _OFFSET = 0x9003, 0x9291, 0x9011  # DateTimeOriginal, SubSecTimeOriginal, OffsetTimeOriginal
_SERIAL, _FOCAL_LENGTH = 0xA431, 0x920A


@dataclass(frozen=True)
class CameraId:
    """Which camera took a photo: photos of one camera at one zoom have one focal length."""

    make: str
    model: str
    serial: str  # of the body, empty where unknown
    focal_length: float | None  # mm, not in 35 mm equivalents; None where unknown


def time_taken(exif: Image.Exif) -> datetime | None:
    """When the photo was taken, to the fraction of a second where that is told; None where nothing is.

    It knows its time zone only if the camera wrote one.
    """
    tags = exif.get_ifd(_EXIF_IFD)
    fraction, offset = _text(tags.get(_FRACTION)), _text(tags.get(_OFFSET))
    try:
        taken = datetime.strptime(_text(tags.get(_TAKEN)), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    if fraction.isascii() and fraction.isdigit():
        taken = taken.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    try:
        return taken.replace(tzinfo=datetime.strptime(offset, "%z").tzinfo)
    except ValueError:
        return taken


def camera_id(exif: Image.Exif) -> CameraId | None:
    """The camera that took the photo; None where its model is not told."""
    tags = exif.get_ifd(_EXIF_IFD)
    model = _text(exif.get(_MODEL))
    if not model:
        return None
    try:
        focal_length = round(float(tags[_FOCAL_LENGTH]), 2)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        focal_length = 0.0
    known = 0 < focal_length < float("inf")
    return CameraId(_text(exif.get(_MAKE)), model, _text(tags.get(_SERIAL)), focal_length if known else None)


def _text(value: Any) -> str:
    """What a text tag says, without the padding that cameras write; empty where it is none."""
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""
