"""Where the cameras stand around the head, in the layouts that others read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nextface.cameras.colmap import write_colmap
from nextface.cameras.transforms import write_transforms
from nextface.cameras.view import Place, View
from nextface.person.reconstruction import Reconstruction
from nextface.photos.lens import Lens, camera_matrix
from nextface.photos.shot import Shot

FOLDER = "cameras"


@torch.no_grad()
def found_views(reconstruction: Reconstruction, shots: Sequence[Shot]) -> list[View]:
    """The cameras of whole photos, before they were straightened, cropped or turned.

    The world is the head's own frame, in mm.
    """
    return [_view(reconstruction, photo, shot) for photo, shot in enumerate(shots)]


def _view(reconstruction: Reconstruction, photo: int, shot: Shot) -> View:
    assert shot.optics is not None, "photos are prepared with their lenses"
    camera = reconstruction.camera(photo)
    to_photo = np.linalg.inv(np.vstack([shot.frame.photo_to_image, [0, 0, 1]]))
    matrix, turn = camera_matrix(to_photo @ camera.intrinsics[0].double().cpu().numpy())
    place = Place(camera.turn[0].double().cpu().numpy(), camera.translation[0].double().cpu().numpy())
    lens = Lens(shot.optics.width, shot.optics.height, matrix, shot.optics.distortion, shot.optics.known)
    return View(shot.source.name, lens, place.turned(turn))


def write_cameras(reconstruction: Reconstruction, shots: Sequence[Shot], folder: Path) -> None:
    """Write `cameras/transforms.json` and a COLMAP model, `cameras/colmap`, into a result folder.

    Returns
    -------
    Their paths in the folder, by what they are.
    """
    assert reconstruction.rig is not None
    views = found_views(reconstruction, shots)
    write_transforms(views, folder / FOLDER / "transforms.json", reconstruction.rig.metric)
    write_colmap(views, folder / FOLDER / "colmap")
