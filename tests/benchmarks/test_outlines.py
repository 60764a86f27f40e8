"""Outlines drawn by hand: where they lie, and how masks are held against them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT

from benchmarks.scoring import outlines
from benchmarks.scoring.outlines import Outlined, agreement, outlined
from nextface.photos.photo import load_photo

WHOLE = np.array([[1.0, 0, 0], [0, 1, 0]])
PHOTOS = Path(__file__).parents[3] / "shared" / "photos"


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A square of skin with a smaller one and a strand in front of it, and one that nobody can tell."""

    def square(low: int, high: int) -> list[list[int]]:
        return [[low, low], [high, low], [high, high], [low, high]]

    content = {
        "skin": [square(10, 90)],
        "hidden": [
            {"what": "hand", "polygon": square(50, 70)},
            {"what": "hair", "line": [[20, 0], [20, 100]], "width": 4},
        ],
        "unclear": [square(80, 90)],
    }
    (tmp_path / "made.json").write_text(json.dumps(content))
    monkeypatch.setattr(outlines, "FOLDER", tmp_path)


@pytest.mark.usefixtures("drawn")
def test_what_is_in_front_is_no_skin() -> None:
    found = outlined("made.jpg", WHOLE, 100, 120)
    assert found is not None
    expected = np.zeros((100, 120), bool)
    expected[10:90, 10:90] = True
    expected[50:70, 50:70] = False
    expected[:, 18:22] = False
    assert (found.skin != expected).mean() < 0.005
    assert (~found.told).sum() == pytest.approx(100, abs=10)
    assert found.hidden[60, 60] and found.hidden[5, 5] and not found.hidden[85, 85]
    assert outlined("another.jpg", WHOLE, 100, 120) is None


@pytest.mark.usefixtures("drawn")
def test_outlines_follow_the_crop() -> None:
    """Half the size, moved: the same areas in the same places."""
    whole = outlined("made.jpg", WHOLE, 100, 120)
    half = outlined("made.jpg", np.array([[0.5, 0, -4], [0, 0.5, 3]]), 60, 60)
    assert whole is not None and half is not None
    assert half.skin.sum() == pytest.approx(whole.skin.sum() / 4, rel=0.02)
    rows, columns = np.nonzero(half.skin)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(
        [0.5 * (np.nonzero(whole.skin)[axis].mean() + 0.5) + move for axis, move in ((1, -4), (0, 3))], abs=0.2
    )


def test_agreement_counts_what_is_told_inside_the_area() -> None:
    skin, told, area = np.zeros((3, 10, 10), bool)
    skin[:, :6] = True
    told[:8] = True
    area[:, 1:] = True
    mask = np.zeros((10, 10), bool)
    mask[:, 3:7] = True
    found = agreement(mask, Outlined(skin, told), area)
    assert found.overlap == pytest.approx(3 / 6)  # columns 3 to 5 of 1 to 6
    assert found.lost == pytest.approx(2 / 5)
    assert found.intruding == pytest.approx(1 / 4)
    assert agreement(skin, Outlined(skin, told), area).overlap == 1


def test_every_file_is_whole() -> None:
    """Inside its photo, and of the photo at hand where there is one."""
    files = sorted(outlines.FOLDER.glob("*.json"))
    assert len(files) == 11
    for file in files:
        content = json.loads(file.read_text())
        width, height = content["size"]
        polygons = content["skin"] + content["unclear"]
        polygons += [one.get("polygon") or one["line"] for one in content["hidden"]]
        for polygon in polygons:
            low, high = np.min(polygon, 0), np.max(polygon, 0)
            assert (low >= 0).all() and (high <= (width, height)).all(), file.name
        photo = PORTRAIT if file.stem == PORTRAIT.stem else PHOTOS / content["photo"]
        if photo == PORTRAIT or photo.is_file():
            assert hashlib.sha256(photo.read_bytes()).hexdigest() == content["sha256"], file.name


def test_the_portraits_outline_parts_skin_and_hair() -> None:
    """The colours of the two sides differ, and skin is the redder and lighter one."""
    srgb = load_photo(PORTRAIT).srgb
    found = outlined(PORTRAIT.name, WHOLE, *srgb.shape[:2])
    assert found is not None
    fringe = found.hidden.copy()
    fringe[:60], fringe[90:], fringe[:, :190], fringe[:, 265:] = False, False, False, False
    assert found.skin.sum() > 6000 and fringe.sum() > 500
    assert np.median(srgb[found.skin, 0]) > np.median(srgb[fringe, 0]) + 0.2
    assert np.quantile(srgb[fringe, 0], 0.9) < np.median(srgb[found.skin, 0])
