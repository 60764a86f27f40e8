"""Pictures and meshes from the middle of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextface.export.files import write_png
from nextface.export.mesh import write_obj
from nextface.export.pictures import over_black
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot


def write_debug(folder: Path, name: str, state: Reconstruction, encoded: np.ndarray, shot: Shot) -> None:
    """Write one photo's (N = 1) render, the photo and their absolute difference, and the mesh.

    Parameters
    ----------
    encoded: [h, w, 4] the state's render, 8-bit RGBA.
    """
    shown, photo = over_black(encoded).astype(float) / 255, shot.srgb8.astype(float) / 255
    write_png(folder / f"{name}.png", np.concatenate([shown, photo, np.abs(shown - photo)], 1))
    write_obj(folder / f"{name}.obj", state.scene().mesh)
