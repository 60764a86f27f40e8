"""COLMAP's models: cameras.txt, images.txt and points3D.txt, or the same as .bin.

COLMAP counts pixels as this project does, from the corner of the upper-left one, and its camera frame is
OpenCV's. It says `camera from world`; the world's frame and, mostly, its unit are of its own choice. Models
are read by COLMAP's own code (pycolmap).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nextface.cameras.view import Place, View, Views, lens_of
from nextface.errors import CameraError, MissingPartError
from nextface.system.atomic import replacing

PINHOLE = "fx fy cx cy"
MODELS = {  # COLMAP's parameters; f is fx and fy, k is k1
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": PINHOLE,
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": f"{PINHOLE} k1 k2 p1 p2",
    "FULL_OPENCV": f"{PINHOLE} k1 k2 p1 p2 k3 k4 k5 k6",
}
DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
PLACES = (".", "sparse/0", "sparse", "colmap")  # in a folder that somebody names, where a model may lie
FILES = ("cameras.bin", "cameras.txt")


def model_folder(folder: Path) -> Path | None:
    """Where a COLMAP model lies in a folder; None where there is none."""
    for place in PLACES:
        if any((folder / place / name).is_file() for name in FILES):
            return folder / place
    return None


def read_colmap(folder: Path) -> Views:
    """The cameras of the images that a COLMAP model has registered.

    Raises
    ------
    CameraError: if there is no model, it is damaged, or has cameras of a kind that is not known.
    MissingPartError: if pycolmap is not here.
    """
    place = model_folder(folder)
    if place is None:
        raise CameraError(
            f"There is no COLMAP model in {folder}: neither {' nor '.join(FILES)} was found there, in "
            f"sparse/0, "
            "in sparse or in colmap."
        )
    try:
        import pycolmap
    except ImportError:
        raise MissingPartError(
            "COLMAP models are read by pycolmap, which is not installed: pip install 'nextface[cameras]'."
        ) from None
    try:
        model = pycolmap.Reconstruction(str(place))
        images = [image for image in model.images.values() if image.has_pose]
        views = tuple(_view(place, image) for image in sorted(images, key=lambda image: image.name))
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        raise CameraError(f"The COLMAP model in {place} cannot be read: {error}.") from None
    if not views:
        raise CameraError(f"The COLMAP model in {place} has no registered image.")
    return Views(folder, views)


def _view(place: Path, image: Any) -> View:
    """An image of pycolmap's."""
    camera = image.camera
    where, model = f"{place}, {image.name}", camera.model.name
    if model not in MODELS:
        raise CameraError(
            f"{where}: cameras of the model {model} are not known; these are: {', '.join(MODELS)}. Straighten "
            "the photos with `colmap image_undistorter`, and use its model and photos."
        )
    values = dict(zip(MODELS[model].split(), camera.params.tolist(), strict=True))
    across, down = values.get("fx", values.get("f")), values.get("fy", values.get("f"))
    matrix = np.array([[across, 0, values["cx"]], [0, down, values["cy"]], [0, 0, 1.0]])
    distortion = [values.get(name, 0.0) for name in DISTORTION]
    lens = lens_of(camera.width, camera.height, matrix, _shortest(distortion), where)
    turned = image.cam_from_world().matrix()
    return View(image.name, lens, Place(turned[:, :3].copy(), turned[:, 3].copy()))


def _shortest(distortion: Sequence[float]) -> NDArray[np.float64]:
    """Brown's five coefficients, where the rational ones are zero."""
    values = np.asarray(distortion, float)
    return values if values[5:].any() else values[:5]


def write_colmap(views: Sequence[View], folder: Path) -> list[str]:
    """Write views as a COLMAP model in text, without points; returns the files' names.

    Each photo has a camera of its own: OPENCV, or FULL_OPENCV where its distortion needs it, or PINHOLE.
    COLMAP knows no skew, which is lost.
    """
    cameras, images = (
        ["# id, model, width, height, parameters"],
        ["# id, qw, qx, qy, qz, tx, ty, tz, camera, name"],
    )
    for number, view in enumerate(views, 1):
        assert view.lens is not None and view.place is not None
        matrix, distortion = view.lens.matrix, np.zeros(8)
        distortion[: len(view.lens.distortion)] = view.lens.distortion
        model = "FULL_OPENCV" if distortion[4:].any() else "OPENCV" if distortion.any() else "PINHOLE"
        pinhole = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
        values = np.concatenate([pinhole, distortion[: {"PINHOLE": 0, "OPENCV": 4, "FULL_OPENCV": 8}[model]]])
        cameras.append(f"{number} {model} {view.lens.width} {view.lens.height} {_row(values)}")
        turn = Rotation.from_matrix(view.place.rotation).as_quat(scalar_first=True)
        images += [f"{number} {_row(turn)} {_row(view.place.translation)} {number} {view.name}", ""]
    for name, lines in {"cameras.txt": cameras, "images.txt": images, "points3D.txt": ["# no points"]}.items():
        with replacing(folder / name) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ["cameras.txt", "images.txt", "points3D.txt"]


def _row(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " ".join(f"{value:.12g}" for value in values)
