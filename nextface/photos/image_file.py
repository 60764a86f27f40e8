"""Decoding image files: checks, bit depths, transparency, colour profiles and the EXIF data in use."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextface.errors import PhotoError
from nextface.photos.exif import CameraId, camera_id, time_taken
from nextface.photos.float_tiff import float_tiff_pixels, float_tiff_tags
from nextface.photos.icc import matrix_to_srgb, to_srgb
from nextface.system.python import pip_install

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000
MATTE = 0.5  # sRGB-encoded grey that shows through transparent pixels

_SMALLER = f"Reduce it to at most {MAX_PIXELS // 1_000_000} million pixels."
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_EXIF_IFD, _EXIF_ORIENTATION, _EXIF_FOCAL_35MM = 0x8769, 0x0112, 0xA405
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_PROFILE = 0x0100, 0x0101, 0x8773


@dataclass(frozen=True)
class DecodedImage:
    """An image file's pixels, upright and in sRGB."""

    srgb: np.ndarray  # [H, W, 3] float32 in [0, 1], sRGB-encoded
    focal_35mm: float | None  # EXIF's 35 mm equivalent focal length in mm, None where absent
    taken: datetime | None = None  # as EXIF tells, None where absent
    camera: CameraId | None = None  # as EXIF tells, None where absent
    problem: str = ""  # what of the file could not be used, as the rest of a sentence about it


def decode_image(path: Path, what: str = "photo", matte: float = MATTE) -> DecodedImage:
    """The image in a JPEG, PNG (8 or 16 bit), WebP, TIFF, BMP, AVIF or (with pillow-heif) HEIC file.

    Sixteen-bit PNGs and TIFFs of floats keep their precision. Grey becomes RGB; transparent pixels are
    composited over a grey `matte`; the EXIF orientation is applied; embedded colour profiles are converted to
    sRGB.

    Parameters
    ----------
    path: the file.
    what: what to call it in messages.
    matte: sRGB-encoded grey that shows through transparent pixels.

    Raises
    ------
    PhotoError: no such file, not an image, damaged, or of more than `MAX_PIXELS` pixels.
    """
    data = _read(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about tags that nobody asks for
            tags = float_tiff_tags(data)
            if tags is not None:
                exif = tags
                _check_size(path, exif.get(_TIFF_WIDTH, 0), exif.get(_TIFF_HEIGHT, 0), what)
                encoded, alpha, problem = _decode_floats(float_tiff_pixels(data), exif.get(_TIFF_PROFILE))
            else:
                image = _open(path, data, what)
                exif = image.getexif()
                image.load()  # complains about truncation, which the decoder for sixteen bits does not
                decoder = _decode_sixteen_bit if _is_sixteen_bit_png(data) else _decode
                encoded, alpha, problem = decoder(image, data)
            orientation, focal = exif.get(_EXIF_ORIENTATION, 1), exif.get_ifd(_EXIF_IFD).get(_EXIF_FOCAL_35MM)
    except PhotoError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise PhotoError(
            f"The {what} {path} is damaged or cut short ({error}). Export or copy it again from the original."
        ) from error
    if alpha is not None:
        encoded = encoded * alpha + np.float32(matte) * (1 - alpha)
    upright = np.ascontiguousarray(_turn_upright(encoded, orientation), dtype=np.float32)
    return DecodedImage(upright, _positive(focal), time_taken(exif), camera_id(exif), problem)


def _read(path: Path, what: str) -> bytes:
    if os.path.isdir(path):  # unlike Path.is_dir, no error where a folder above may not be entered
        raise PhotoError(f"{path} is a folder. Name one {what} file in it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PhotoError(f"There is no {what} {path}. Check the path and its spelling.") from None
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"The {what} {path} cannot be read ({_reason(error)}). Check its permissions."
        ) from error
    if not data:
        raise PhotoError(f"The {what} {path} is empty (0 bytes). Copy it again from the original.")
    return data


def _open(path: Path, data: bytes, what: str) -> Image.Image:
    """The image with its header read and checked, and its pixels not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        if importlib.util.find_spec("pillow_heif") is None:
            raise PhotoError(
                f"The {what} {path} is a HEIC file, which needs the package pillow-heif. "
                f"Run `{pip_install('pillow-heif')}`, or convert the photo to JPEG or PNG."
            )
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()  # registers the formats that this Pillow can read
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise PhotoError(f"The {what} {path} is too large to be one: {error} {_SMALLER}") from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{path} is not an image that can be read here, or its beginning is damaged. "
            "Use a JPEG, PNG, WebP, TIFF, BMP or HEIC file."
        ) from None
    _check_size(path, image.width, image.height, what)
    return image


def _check_size(path: Path, width: int, height: int, what: str) -> None:
    if width * height > MAX_PIXELS:
        raise PhotoError(f"The {what} {path} is too large: {width} x {height} pixels. {_SMALLER}")


def _decode(image: Image.Image, data: bytes) -> tuple[np.ndarray, np.ndarray | None, str]:
    """RGB [H, W, 3] and alpha [H, W, 1] or None, float32 in [0, 1], and what is wrong with the profile."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # grey TIFFs of more than eight bits
        values = np.repeat(np.asarray(image, dtype=np.float32)[..., None], 3, -1)
        if image.mode == "F":
            return _decode_floats(values, profile)
        encoded, problem = _managed(np.clip(values / 65535, 0, 1), profile)
        return encoded, None, problem
    alpha = None
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        alpha = np.asarray(layers.getchannel("A"), dtype=np.float32)[..., None] / 255
        image = image.convert("L") if image.mode in ("1", "L", "LA") else layers.convert("RGB")
    converted, problem = to_srgb(image, profile)
    return np.asarray(converted, dtype=np.float32) / 255, alpha, problem


def _decode_floats(values: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, np.ndarray | None, str]:
    """As `_decode`, for values [H, W, 3 or 4] of any scale."""
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    colour = values[..., :3]
    alpha = np.clip(values[..., 3:], 0, 1) if values.shape[2] == 4 else None
    encoded, problem = _managed(np.clip(colour / _float_white(colour), 0, 1), profile)
    return encoded, alpha, problem


def _float_white(values: np.ndarray) -> float:
    """The value that stands for white in a picture of floats: such files count to 1, to 255 or to 65,535."""
    brightest = float(values.max())
    return 1.0 if brightest <= 4 else 255.0 if brightest <= 255 else 65535.0  # some highlights exceed 1


def _is_sixteen_bit_png(data: bytes) -> bool:
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24] == 16


def _decode_sixteen_bit(image: Image.Image, data: bytes) -> tuple[np.ndarray, np.ndarray | None, str]:
    """As `_decode`, for the sixteen-bit PNG in `data`, which Pillow would reduce to eight bits."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        return _decode(image, data)
    values = pixels.astype(np.float32) / 65535
    profile = image.info.get("icc_profile")
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, -1)
    alpha = values[..., 3:] if values.shape[2] == 4 else None
    encoded, problem = _managed(values[..., 2::-1], profile)
    return encoded, alpha, problem


def _managed(encoded: np.ndarray, profile: bytes | None) -> tuple[np.ndarray, str]:
    """sRGB-encoded values [H, W, 3] of sixteen-bit ones, and what is wrong with the profile.

    Eight bits remain with an unusual profile, and all sixteen with an unusable one.
    """
    from PIL import Image

    if not profile:
        return encoded, ""
    converted = matrix_to_srgb(encoded, profile)
    if converted is not None:
        return converted, ""
    eight_bit, problem = to_srgb(Image.fromarray(np.round(encoded * 255).astype(np.uint8)), profile)
    return (encoded if problem else np.asarray(eight_bit, dtype=np.float32) / 255), problem


def _turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, C] as EXIF orientation 1 shows them."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _reason(error: Exception) -> str:
    """Why the system refused."""
    return getattr(error, "strerror", None) or str(error)


def _positive(value: object) -> float | None:
    """A finite positive number, or None: EXIF writes 0 for "unknown"."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < float("inf") else None
