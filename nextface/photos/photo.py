"""A photo, and the crop of it that is reconstructed.

Pixel coordinates have (0, 0) at the upper-left corner of the upper-left pixel, so that a pixel's
centre lies at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from scipy import sparse

from nextface.errors import PhotoError
from nextface.photos.exif import CameraId
from nextface.photos.image_file import decode_image
from nextface.photos.lens import Lens
from nextface.scene.colour import linear_to_srgb, srgb_to_linear

CREDIBLE_FOCAL = (10.0, 600.0)  # mm, 35 mm equivalent, from wide-angle phones to long telephoto lenses
THUMBNAIL_SHAPE = (16, 16, 3)
CLIPPED_LEVEL = 250  # of 255: a channel at or above this only says "at least this bright"


@dataclass(frozen=True)
class Photo:
    """A decoded photo, rotated upright as its EXIF data say, with its ICC profile converted to sRGB."""

    path: Path
    srgb: np.ndarray  # [H, W, 3] float32 in [0, 1], sRGB-encoded
    focal_35mm: float | None  # EXIF's 35 mm equivalent focal length in mm, None where absent or not credible
    taken: datetime | None = None  # as EXIF tells, None where absent
    camera: CameraId | None = None  # as EXIF tells, None where absent
    warnings: tuple[str, ...] = ()  # what of the file was not used, and why
    lens: Lens | None = None  # as calibrated, before the photo was straightened; None where unknown
    shown: np.ndarray | None = None  # [H, W] bool, what a straightened photo shows; None: all

    def turned(self, turns: int) -> Photo:
        """This photo turned anticlockwise by a number of right angles."""
        return replace(self, srgb=np.ascontiguousarray(np.rot90(self.srgb, turns)))

    def to_turned(self, turns: int) -> np.ndarray:
        """The map [2, 3] from this photo's pixels to those of `turned`."""
        height, width = self.srgb.shape[:2]
        maps = (
            [[1, 0, 0], [0, 1, 0]],
            [[0, 1, 0], [-1, 0, width]],
            [[-1, 0, width], [0, -1, height]],
            [[0, -1, height], [1, 0, 0]],
        )
        return np.array(maps[turns % 4], dtype=np.float64)


@dataclass(frozen=True)
class CroppedPhoto:
    """The part of a photo that is reconstructed, at the resolution at which it is processed."""

    srgb: np.ndarray  # [h, w, 3] float32 in [0, 1], sRGB-encoded
    photo_to_image: np.ndarray  # [2, 3] float64: photo pixels to image pixels, one scale for x and y
    clipped: np.ndarray  # [h, w] bool: a source pixel under this one has a channel >= CLIPPED_LEVEL / 255

    @property
    def thumbnail(self) -> np.ndarray:
        """The picture in 16 x 16 pixels, uint8 sRGB: much the same at every resolution, another for another."""
        small = cv2.resize(self.srgb, THUMBNAIL_SHAPE[:2], interpolation=cv2.INTER_AREA)
        return np.round(small * 255).astype(np.uint8)


def load_photo(path: Path | str, lens: Lens | None = None) -> Photo:
    """The photo in a file; see `nextface.photos.image_file.decode_image` for the formats.

    Parameters
    ----------
    lens: what took it, as calibrated in photos of the same shape; the photo is freed from its distortion.

    Raises
    ------
    PhotoError: no such file, not an image, damaged, too large, or not of the lens's shape.
    """
    image = decode_image(Path(path))
    warnings = [f"{Path(path).name}: {image.problem}."] if image.problem else []
    focal = image.focal_35mm
    if focal is not None and not CREDIBLE_FOCAL[0] <= focal <= CREDIBLE_FOCAL[1]:
        warnings.append(
            f"{Path(path).name}: its EXIF data tell a focal length of {focal:g} mm (35 mm equivalent), which "
            "is not believed; focalLength35mm is taken instead."
        )
        focal = None
    photo = Photo(Path(path), image.srgb, focal, image.taken, image.camera, tuple(warnings))
    if lens is None:
        return photo
    lens = lens.of_size(image.srgb.shape[1], image.srgb.shape[0])
    if lens.is_straight:
        return replace(photo, lens=lens)
    straight, shown = lens.straightened(image.srgb)
    return replace(photo, srgb=straight, lens=lens, shown=shown)


def crop_to_box(photo: Photo, box: Sequence[float], max_resolution: int) -> CroppedPhoto:
    """The part of the photo inside a box, reduced to at most `max_resolution` pixels a side.

    Reduction averages linear light over each pixel's exact footprint; nothing is ever enlarged.

    Parameters
    ----------
    photo: the photo.
    box: (x0, y0, x1, y1) in photo pixels; it is rounded outward and the part outside is cut off.
    max_resolution: longest side of the result in pixels.

    Raises
    ------
    PhotoError: the box lies outside the photo.
    """
    height, width = photo.srgb.shape[:2]
    x0, y0 = (max(int(np.floor(value)), 0) for value in box[:2])
    x1, y1 = (min(int(np.ceil(value)), size) for value, size in zip(box[2:], (width, height), strict=True))
    if x1 <= x0 or y1 <= y0:
        raise PhotoError(
            f"The face box {tuple(round(float(value)) for value in box)} lies outside the photo {photo.path} "
            f"({width} x {height} pixels). Check the landmarks."
        )
    scale = min(1.0, max_resolution / max(x1 - x0, y1 - y0))
    source = photo.srgb[y0:y1, x0:x1]
    clipped = np.any(source >= (CLIPPED_LEVEL - 0.5) / 255, axis=-1)
    if scale == 1.0:
        reduced = source.copy()
    else:
        averaged = linear_to_srgb(area_averaged(srgb_to_linear(source), scale))
        reduced = np.clip(averaged, 0, 1).astype(np.float32)
        clipped = area_averaged(clipped[..., None], scale)[..., 0] > 1e-6
    photo_to_image = np.array([[scale, 0, -scale * x0], [0, scale, -scale * y0]], dtype=np.float64)
    return CroppedPhoto(reduced, photo_to_image, clipped)


def area_averaged(source: np.ndarray, scale: float) -> np.ndarray:
    """A picture [H, W, C] reduced by a scale below 1 (floor(H * scale), ...), averaged over footprints."""
    rows, columns = (_area_weights(length, scale) for length in source.shape[:2])
    planes = [rows @ (columns @ source[..., i].T.astype(np.float32)).T for i in range(source.shape[2])]
    return np.stack(planes, -1)


def _area_weights(size: int, scale: float) -> sparse.csr_array:
    """Sparse weights [floor(size * scale), size] that average over each output pixel's footprint.

    Rounding the output size down keeps the scale exact: no footprint reaches beyond the source.
    """
    out_size = max(int(size * scale + 1e-6), 1)
    edges = np.arange(out_size + 1) / scale
    first = np.floor(edges[:-1] + 1e-9).astype(int)
    reach = int(np.ceil(1 / scale)) + 1
    pixels = first[:, None] + np.arange(reach)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    used = (overlap > 1e-9) & (pixels < size)
    rows = np.broadcast_to(np.arange(out_size)[:, None], pixels.shape)
    weights = sparse.csr_array((overlap[used], (rows[used], pixels[used])), shape=(out_size, size))
    return sparse.csr_array(weights.multiply(1 / weights.sum(1)[:, None])).astype(np.float32)
