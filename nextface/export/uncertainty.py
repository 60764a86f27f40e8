"""How sure the shape is, as files: numbers for every vertex, and a picture with a scale in mm."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.export.files import write_png
from nextface.person.reconstruction import Reconstruction
from nextface.scene.raster import interpolate, rasterize_scene
from nextface.system.atomic import replacing

DEVIATIONS = "uncertainty_0.npz"
SHOWN_QUANTILE = 0.98  # of what is seen: the end of the scale lies at the next half millimetre
PHOTO_SHARE = 0.35  # of the grey photo under the colours
LONGEST_SIDE = 768  # of the picture, which small photos are enlarged to


def write_deviations(deviation: Tensor, folder: Path) -> str:
    """Write the deviation [V] of every vertex (mm, in the order of the meshes); returns the file's name."""
    with replacing(folder / DEVIATIONS) as temporary:
        np.savez_compressed(temporary, deviation=deviation.cpu().numpy().astype(np.float32))
    return DEVIATIONS


@torch.no_grad()
def write_deviation_picture(reconstruction: Reconstruction, srgb8: np.ndarray, path: Path) -> None:
    """Lay the deviations as colours over the photo [h, w, 3] of a reconstruction (N = 1), with a scale."""
    assert reconstruction.shape_deviation is not None
    scene = reconstruction.scene()
    fragments = rasterize_scene(scene)
    covered = fragments.covered.cpu().numpy()
    seen = interpolate(fragments, scene.mesh.triangles, reconstruction.shape_deviation[:, None])
    values = seen[..., 0].cpu().numpy()
    largest = np.quantile(values[covered], SHOWN_QUANTILE) if covered.any() else 0.0
    end = max(np.ceil(2 * float(largest)) / 2, 0.5)
    grey = np.repeat(srgb8.mean(-1, keepdims=True) / 255, 3, -1)
    picture = np.where(
        covered[..., None], PHOTO_SHARE * grey + (1 - PHOTO_SHARE) * _colours(values / end), grey
    )
    enlarged = max(1, LONGEST_SIDE // max(picture.shape[:2]))
    size = (picture.shape[1] * enlarged, picture.shape[0] * enlarged)
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    write_png(path, np.concatenate([picture, _scale(picture.shape[0], end)], 1))


def _scale(height: int, end: float) -> np.ndarray:
    """A bar [height, width, 3] from 0 to `end` mm."""
    width, margin = 96, 16
    scale = np.ones((height, width, 3))
    inside = max(height - 2 * margin, 1)
    ramp = np.linspace(1, 0, inside)[:, None].repeat(24, 1)
    scale[margin : margin + inside, 8:32] = _colours(ramp)
    drawn = np.round(scale * 255).astype(np.uint8)  # OpenCV writes on nothing else
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        row = int(margin + (1 - share) * inside) + 4
        said = f"{share * end:.2g}" + (" mm" if share == 1 else "")
        cv2.putText(drawn, said, (36, row), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (25, 25, 25), 1, cv2.LINE_AA)
    return drawn / 255


def _colours(shares: np.ndarray) -> np.ndarray:
    """RGB [h, w, 3] in [0, 1] of shares [h, w] of the scale, from dark blue to yellow."""
    encoded = np.round(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(encoded, cv2.COLORMAP_VIRIDIS)[..., ::-1] / 255
