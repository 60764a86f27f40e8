"""ICC profiles: from the colours of a file to sRGB.

Eight-bit images go through LittleCMS (Pillow's ImageCms), which knows every kind of profile. It has no
sixteen-bit RGB in Pillow, so sixteen-bit images are converted here from the profile's matrix and tone
curves (ICC.1:2022, sections 8.3, 10.6 and 10.18), the kind that cameras, phones and editors embed.
"""

from __future__ import annotations

import io
import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np

from nextface.scene.colour import linear_to_srgb

if TYPE_CHECKING:
    from PIL import Image

# Linear sRGB to the D50 profile connection space (Bradford-adapted, as in the ICC's own sRGB profile).
_SRGB_TO_PCS = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
_IMAGE_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """An 8-bit image without alpha as RGB in sRGB, and what is wrong with its profile, or "".

    Without a usable profile it is taken to be sRGB.
    """
    from PIL import Image, ImageCms

    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    if not profile:
        return image.convert("RGB"), ""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _IMAGE_MODES.get(source.profile.xcolor_space.strip())
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            raise ValueError(f"a {source.profile.xcolor_space.strip()} profile in a {image.mode} image")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode == "RGB":
            steps = range(0, 256, 51)
            cube = np.array(list(itertools.product(steps, steps, steps)), dtype=np.uint8)[None]
            converted = np.asarray(transform.apply(Image.fromarray(cube)))
            if np.abs(converted.astype(int) - cube).max() <= 2:
                return image, ""  # sRGB by another name: keep the values as they are
        return transform.apply(image), ""
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return image.convert("RGB"), f"its colour profile is unusable ({error}), so it is taken to be sRGB"


def matrix_to_srgb(encoded: np.ndarray, profile: bytes | None) -> np.ndarray | None:
    """sRGB-encoded values [H, W, 3] float32 of profile-encoded ones [H, W, 3], at full precision.

    Colours outside sRGB are clipped. None where the profile is missing, damaged or not of the
    matrix and tone curve kind.
    """
    try:
        with np.errstate(all="raise", under="ignore"):
            return _converted(encoded, profile or b"")
    except (KeyError, ValueError, ArithmeticError, struct.error, np.linalg.LinAlgError):
        return None


def _converted(encoded: np.ndarray, profile: bytes) -> np.ndarray | None:
    """`matrix_to_srgb`, raising what a damaged profile leads to."""
    tags = _tags(profile)
    space = profile[16:20]
    if space == b"GRAY":
        linear = _curve(tags[b"kTRC"], encoded)
    elif space == b"RGB " and b"A2B0" not in tags:
        names = (b"rTRC", b"gTRC", b"bTRC")
        linear = np.stack([_curve(tags[name], encoded[..., i]) for i, name in enumerate(names)], -1)
        colorants = [_fixed(tags[name], 8, 3) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = np.linalg.solve(_SRGB_TO_PCS, np.array(colorants).T)
        linear = linear @ matrix.T.astype(np.float32)
    else:
        return None
    if not np.isfinite(linear).all():
        return None
    return np.clip(linear_to_srgb(np.clip(linear, 0, None)), 0, 1).astype(np.float32)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Tag signature -> tag data of a profile."""
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 1000:
        raise ValueError("damaged tag table")
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count)]
    return {name: profile[start : start + length] for name, start, length in entries}


def _fixed(tag: bytes, offset: int, count: int) -> list[float]:
    """s15Fixed16 numbers of a tag."""
    return [value / 65536 for value in struct.unpack_from(f">{count}i", tag, offset)]


def _curve(tag: bytes, encoded: np.ndarray) -> np.ndarray:
    """Linear values of encoded ones through a `curv` or `para` tone curve."""
    kind, number = tag[:4], struct.unpack_from(">H", tag, 8)[0]
    if kind == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return encoded
        table = np.array(struct.unpack_from(f">{count}H", tag, 12), dtype=np.float64)
        if count == 1:
            return (encoded ** (table[0] / 256)).astype(np.float32)
        return np.interp(encoded, np.linspace(0, 1, count), table / 65535).astype(np.float32)
    if kind != b"para":
        raise ValueError("unknown kind of tone curve")
    # ICC.1:2022 table 68: Y = (a X + b)^g + e where X >= d, else Y = c X + f.
    counts = (1, 3, 4, 5, 7)
    if number >= len(counts):
        raise ValueError("unknown parametric curve")
    g, a, b, c, d, e, f = (_fixed(tag, 12, counts[number]) + [0.0] * 6)[:7]
    if number == 0:
        a, d = 1.0, 0.0
    elif number in (1, 2):  # constant below -b / a; type 2 adds an offset to both parts
        c, d, e, f = 0.0, -b / a, c, c
    powered = np.maximum(a * encoded + b, 0) ** g + e
    return np.where(encoded >= d, powered, c * encoded + f).astype(np.float32)
