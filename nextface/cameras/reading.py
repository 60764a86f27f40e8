"""Which reader a file or folder of cameras is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextface.cameras.colmap import read_colmap
from nextface.cameras.opencv import read_opencv
from nextface.cameras.transforms import read_json, read_transforms
from nextface.cameras.view import Views
from nextface.errors import CameraError

OF_OPENCV = (".yml", ".yaml", ".xml")


def read_cameras(source: Path, photos: Sequence[Path]) -> Views:
    """What a file or folder says of the cameras of some photos.

    Parameters
    ----------
    source: a folder with a COLMAP model, a transforms.json, or a YAML, XML or JSON file of OpenCV's.

    Raises
    ------
    CameraError: if it is none of these, or contradicts itself.
    MissingPartError: if a package that reads it is not here.
    """
    if source.is_dir():
        return read_colmap(source)
    if not source.exists():
        raise CameraError(f"There is no file or folder of cameras {source}. Check the path and its spelling.")
    suffix = source.suffix.lower()
    if suffix in OF_OPENCV:
        return read_opencv(source, photos)
    if suffix != ".json":
        raise CameraError(
            f"{source}: cameras are a folder with a COLMAP model, a transforms.json, or a file of OpenCV's "
            f"({', '.join(OF_OPENCV)}, .json)."
        )
    return read_transforms(source) if "frames" in read_json(source) else read_opencv(source, photos)
