"""Two pictures of one face, a known distance apart: the figures of likeness say so."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import PORTRAIT

from benchmarks.scoring.likeness import COLUMNS, compare_faces
from nextface.landmarks import MEDIAPIPE
from nextface.photos.photo import load_photo

APART = 4  # pixels to the right


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    """The portrait around its face, with room to move, [H, W, 3] uint8."""
    return np.round(load_photo(PORTRAIT).srgb[0:280, 90:370] * 255).astype(np.uint8)


def cut(wide: np.ndarray, left: int) -> np.ndarray:
    return np.ascontiguousarray(wide[:, left : left + 270])


def opaque(rgb: np.ndarray) -> np.ndarray:
    return np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], 2)


def test_a_picture_is_like_itself(wide: np.ndarray) -> None:
    photo = cut(wide, 5)
    found = compare_faces(photo, opaque(photo), "opencv")
    assert set(found.offsets) == set(COLUMNS)
    assert all(offset == 0 for offset in found.offsets.values())
    assert min(found.psnr.values()) > 60


def test_a_picture_that_is_moved_is_as_far_away_as_it_was_moved(wide: np.ndarray) -> None:
    """Across the line of the jaw it is less: a part of the move is along it."""
    photo = cut(wide, 5)
    found = compare_faces(photo, opaque(cut(wide, 5 - APART)), "opencv")
    corners = found.points[[MEDIAPIPE.right_eye[0], MEDIAPIPE.left_eye[0]]]
    moved = 100 * APART / float(np.linalg.norm(corners[0] - corners[1]))
    for part in ("lids", "iris", "lips", "nose", "all"):
        assert found.offsets[part] == pytest.approx(moved, rel=0.15), part
    jaw = found.offsets["jaw"]
    assert jaw is not None and 0.4 * moved < jaw < 0.9 * moved
    assert max(found.psnr.values()) < 30
