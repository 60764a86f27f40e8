"""What is known of one ground-truth photo, and how it is stored: the only thing that scores read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

_WORDS = ("heads", "tone")  # fields that are text


@dataclass(frozen=True)
class GroundTruth:
    """One photo and the truth behind it.

    Positions are in the camera frame (x right, y down, z forward, mm), pixels have (0, 0) at the upper-left
    corner of the upper-left pixel, colours are linear with sRGB primaries. Images are box-filtered over pixels
    and premultiplied by coverage; scene units are those of `environment`.
    """

    name: str
    heads: str  # "ict", "makehuman" or "bent"
    tone: str  # "light", "medium" or "dark" skin
    reported: bool  # True: set aside from tuning, and reported; False: for tuning
    photo: Path  # the JPEG
    vertices: np.ndarray  # [V, 3] float32, the head as photographed, with its expression
    triangles: np.ndarray  # [F, 3] int32, counter-clockwise seen from outside
    skin: np.ndarray  # [V] bool: outer skin of face, head and neck
    nose_tip: np.ndarray  # [3]
    landmarks: np.ndarray  # [478, 2] pixels; NaN where hidden, unsure, in the eyes or in the mouth
    intrinsics: np.ndarray  # [3, 3] pixels
    radiance: np.ndarray  # [h, w, 3] float32, without noise, before exposure
    exposure: float  # the photo shows exposure * radiance
    coverage: np.ndarray  # [h, w] float32 in [0, 1]: how much of a pixel the head or its clothes cover
    visible_skin: np.ndarray  # [h, w] bool: all of the pixel is outer skin without scalp hair, n.v > 0.15
    albedo: np.ndarray  # [h, w, 3] float32: directional albedo of the BSDF's diffuse lobe towards the camera
    environment: np.ndarray  # [H, 2H, 3] float32: the light, in the light frame
    relit: np.ndarray  # [3, h, w, 3] float32: radiance under `lights.relighting_environments`

    def save(self, folder: Path) -> Path:
        """Write NAME.npz into a folder, where the photo lies as NAME.jpg; returns the file."""
        stored = {field.name: getattr(self, field.name) for field in fields(self)}
        del stored["name"], stored["photo"]
        path = folder / f"{self.name}.npz"
        partial = folder / f"{self.name}.partial.npz"
        np.savez_compressed(partial, **stored)
        partial.replace(path)
        return path

    @classmethod
    def load(cls, name: str, folder: Path) -> GroundTruth:
        """Read a case of a folder.

        Raises
        ------
        FileNotFoundError: there is no such case.
        """
        folder = Path(folder)
        with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
            values = {key: stored[key] for key in stored.files}
        words = {key: str(values[key]) for key in _WORDS}
        numbers = {"reported": bool(values["reported"]), "exposure": float(values["exposure"])}
        return cls(**{**values, **words, **numbers, "name": name, "photo": folder / f"{name}.jpg"})


def cases(folder: Path) -> list[str]:
    """Names of the cases of a folder, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.npz") if ".partial" not in path.name)
