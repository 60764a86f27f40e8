"""Heads that no face model of this project can say, in photos that ship with the tests: is their shape found?

The whole yardstick is `python -m benchmarks.fidelity`; this one needs nothing from outside the project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.known_heads import KnownHead, known_heads
from benchmarks.scoring.case import DETECTOR, mean_face
from benchmarks.scoring.geometry import score_geometry
from nextface import Config, reconstruct
from nextface.fitting.statistical import gauss_newton

HEADS = Path(__file__).parents[1] / "data" / "known_heads"
COARSE = {"WORKING_PIXELS": (600, 1800), "ENOUGH": 0.04, "ENOUGH_OF_COLOUR": 0.01}  # half the time


def medians(head: KnownHead, folder: Path) -> tuple[float, float]:
    """How far (mm) true skin is from the shape that stages 1 and 2 find, and from the mean face."""
    speed = {"threads": 1, "bands": 3, "maxResolution": 112, "iterStep1": 20, "envMapRes": 32, "report": False}
    config = Config(renderer="vertex", textureResolution=256, **speed)  # type: ignore[arg-type]
    found = reconstruct(head.photo, folder, config, skip_stages=frozenset({3}))
    embedding = found.model.landmarks(DETECTOR)
    assert embedding is not None
    fitted, mean = (score_geometry(head.face, row, embedding).median for row in (found, mean_face(found)))
    return fitted, mean


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """`medians` of every head, [H, 2]."""
    folder = tmp_path_factory.mktemp("known-heads")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in COARSE.items():
            patch.setattr(gauss_newton, name, value)
        return np.array([medians(head, folder) for head in known_heads(HEADS)])


def test_heads_of_neither_source_are_better_than_the_mean_face(measured: np.ndarray) -> None:
    """On average; and none is much worse: where the photo does not decide, the prior does."""
    fitted, mean = measured.T
    assert len(measured) >= 3 and (mean > 0.6).all()  # they are people, not the mean
    assert fitted.mean() < mean.mean(), measured
    assert (fitted < 1.05 * mean).all(), measured
