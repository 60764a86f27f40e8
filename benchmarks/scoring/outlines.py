"""Outlines of the skin that a photo shows, drawn by hand, and how well a mask agrees with them.

`benchmarks/outlines/README.md` tells what was drawn and how.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nextface.landmarks.zones import filled

FOLDER = Path(__file__).parents[1] / "outlines"
FINER = 4  # times: at which outlines are drawn, so that a pixel belongs to what covers most of it


@dataclass(frozen=True)
class Outlined:
    """What a person saw in a picture."""

    skin: np.ndarray  # [h, w] bool: skin of head and neck, with eyes, mouth, brows and beard
    told: np.ndarray  # [h, w] bool: where that is sure; strands with skin between them are neither

    @property
    def hidden(self) -> np.ndarray:
        """[h, w] bool: what surely is no skin: hair, glasses, background."""
        return self.told & ~self.skin


@dataclass(frozen=True)
class Agreement:
    """A mask against outlines, over some area."""

    overlap: float  # intersection over union of both skins
    lost: float  # share of the outlined skin that the mask leaves out
    intruding: float  # share of the mask that is no skin


def outlined(photo: str, photo_to_image: np.ndarray, height: int, width: int) -> Outlined | None:
    """What was outlined in a photo, in a picture of it; None where nobody drew outlines.

    Parameters
    ----------
    photo: the name of its file.
    photo_to_image: [2, 3], from pixels of the upright photo to those of the picture.
    height, width: of the picture.
    """
    path = FOLDER / f"{Path(photo).stem}.json"
    if not path.is_file():
        return None
    drawn = json.loads(path.read_text())
    skin = _covered(drawn["skin"], photo_to_image, height, width)
    for hidden in drawn["hidden"]:
        if "line" in hidden:
            skin &= ~_along(hidden, photo_to_image, height, width)
        else:
            skin &= ~_covered([hidden["polygon"]], photo_to_image, height, width)
    unclear = _covered(drawn["unclear"], photo_to_image, height, width)
    return Outlined(_most(skin), ~_most(unclear))


def agreement(mask: np.ndarray, outlines: Outlined, area: np.ndarray) -> Agreement:
    """How well a mask [h, w] bool agrees with outlines over the pixels of an area [h, w] bool that are told."""
    counted = area & outlines.told
    believed, skin = mask & counted, outlines.skin & counted
    common = float((believed & skin).sum())
    return Agreement(
        common / max(float((believed | skin).sum()), 1.0),
        1 - common / max(float(skin.sum()), 1.0),
        1 - common / max(float(believed.sum()), 1.0),
    )


def _covered(
    polygons: list[list[list[float]]], photo_to_image: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The fine pixels [FINER h, FINER w] bool inside polygons in pixels of the photo."""
    return filled(FINER * height, FINER * width, *(_moved(polygon, photo_to_image) for polygon in polygons))


def _along(hidden: dict[str, Any], photo_to_image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The fine pixels [FINER h, FINER w] bool on a line that is `width` pixels of the photo wide."""
    canvas = np.zeros((FINER * height, FINER * width), np.uint8)
    points = np.round((_moved(hidden["line"], photo_to_image) - 0.5) * 16).astype(np.int32)
    scale = FINER * float(np.sqrt(abs(np.linalg.det(photo_to_image[:, :2]))))
    cv2.polylines(canvas, [points], False, 1, max(round(hidden["width"] * scale), 1), shift=4)
    return canvas.astype(bool)


def _moved(points: list[list[float]], photo_to_image: np.ndarray) -> np.ndarray:
    """Points of the photo [P, 2] in fine pixels."""
    return FINER * (np.asarray(points) @ photo_to_image[:, :2].T + photo_to_image[:, 2])


def _most(fine: np.ndarray) -> np.ndarray:
    """The pixels [h, w] bool of which most fine ones [FINER h, FINER w] bool are set."""
    height, width = fine.shape[0] // FINER, fine.shape[1] // FINER
    return fine.reshape(height, FINER, width, FINER).mean((1, 3)) > 0.5
