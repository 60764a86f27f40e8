"""What is known of the cameras that took some photos, whatever the file that says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nextface.errors import CameraError
from nextface.photos.lens import Lens

ROUNDING = 1e-2  # by which a rotation in a file may leave the rotations: some files have four digits


@dataclass(frozen=True)
class Place:
    """Where a camera stands: world to camera, OpenCV's axes (x right, y down, z forward)."""

    rotation: NDArray[np.float64]  # [3, 3]
    translation: NDArray[np.float64]  # [3], in the unit of its file

    @property
    def centre(self) -> NDArray[np.float64]:
        """The camera's place [3] in the world."""
        return -self.rotation.T @ self.translation

    def scaled(self, unit: float) -> Place:
        """The same place in a unit of which `unit` are one of these."""
        return replace(self, translation=self.translation * unit)

    def turned(self, turn: NDArray[np.float64]) -> Place:
        """That of the same camera with its frame turned by `turn` [3, 3]."""
        return Place(turn @ self.rotation, turn @ self.translation)


@dataclass(frozen=True)
class View:
    """One photo's camera."""

    name: str  # of the photo, as the file of the cameras says it; folders are separated by /
    lens: Lens | None  # None: not told
    place: Place | None  # None: not told


@dataclass(frozen=True)
class Views:
    """What a file, or a folder of files, says of cameras."""

    source: Path
    views: tuple[View, ...]
    lens: Lens | None = None  # of photos that are not named, where one calibration is meant for all

    def of(self, photo: Path) -> View | None:
        """The camera of a photo, by its name with or without its ending; None where it is not told.

        Raises
        ------
        CameraError: if several are told.
        """
        named = [view for view in self.views if PurePosixPath(view.name).name == photo.name]
        named = named or [view for view in self.views if PurePosixPath(view.name).stem == photo.stem]
        if len(named) > 1:
            raise CameraError(
                f"{self.source} has {len(named)} cameras for {photo.name}: {', '.join(v.name for v in named)}. "
                "Give the photos names of their own."
            )
        if named:
            return named[0]
        return None if self.lens is None else View(photo.name, self.lens, None)

    def for_photos(self, photos: Sequence[Path]) -> dict[Path, View]:
        """The cameras of some photos, without those that have none.

        Raises
        ------
        CameraError: if none has one: the file is of other photos.
        """
        found = {photo: view for photo in photos if (view := self.of(photo)) is not None}
        if not found:
            theirs, ours = (
                ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                for names in ([view.name for view in self.views], [photo.name for photo in photos])
            )
            raise CameraError(
                f"The cameras of {self.source} belong to other photos: it names {theirs or 'none'}; "
                f"these are {ours}. Photos and cameras find each other by the photos' names."
            )
        return found


def rotation_of(matrix: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The rotation [3, 3] next to a matrix [3, 3] from a file (by singular values).

    Raises
    ------
    CameraError: if it is none; `where` says whose it is.
    """
    matrix = np.asarray(matrix, float)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise CameraError(f"{where}: the rotation has shape {matrix.shape} or is not finite; expected 3 x 3.")
    left, sizes, right = np.linalg.svd(matrix)
    turn = left @ right
    if np.abs(sizes - 1).max() > ROUNDING or np.linalg.det(turn) < 0:
        raise CameraError(
            f"{where}: {matrix.round(3).tolist()} is no rotation. Its rows must be unit vectors at right "
            f"angles, "
            "and it must not mirror."
        )
    return turn


def lens_of(width: int, height: int, matrix: NDArray[np.float64], distortion: object, where: str) -> Lens:
    """A lens from a file's numbers, in this project's pixels.

    Raises
    ------
    CameraError: if no camera has these; `where` says whose they are.
    """
    coefficients = np.ravel(np.asarray(distortion, float))
    if len(coefficients) > 8 and coefficients[8:].any():
        raise CameraError(
            f"{where}: there are {len(coefficients)} distortion coefficients; 8 at most are known (k1, k2, p1, "
            "p2, k3, k4, k5, k6). Straighten the photos first."
        )
    full = np.zeros(8 if len(coefficients) > 5 else 5)
    full[: min(len(coefficients), 8)] = coefficients[:8]
    if width < 1 or height < 1:
        raise CameraError(f"{where}: photos of {width} x {height} pixels are none.")
    try:
        return Lens(width, height, np.asarray(matrix, float), full)
    except ValueError as error:
        raise CameraError(f"{where}: {error}.") from None
