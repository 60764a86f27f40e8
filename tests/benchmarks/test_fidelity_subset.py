"""One ground-truth photo, small, from drawing to scores: a fit that got worse shows here.

The limits leave room beside what was measured when they were set. The whole yardstick is
`python -m benchmarks.fidelity`; docs/benchmarks.md has its figures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import renderers
from benchmarks.ground_truth.__main__ import average_landmarks
from benchmarks.ground_truth.cases import plan
from benchmarks.ground_truth.heads import IctModel
from benchmarks.ground_truth.lights import relighting_environments
from benchmarks.ground_truth.photographs import photograph
from benchmarks.scoring.case import fitted_mask, score_case, stages
from benchmarks.scoring.geometry import TrueFace
from nextface import Config, reconstruct
from renderers.renderer import ShadowCaster
from renderers.settings import Settings

ICT = Path(__file__).parents[3] / "shared" / "models" / "ict_facekit" / "FaceXModel"
CASE = "ict_medium_3"  # of those for tuning
SIZE = 112
SAMPLES = 36, 16  # light paths a pixel: a quarter, for speed


@pytest.mark.skipif(
    not ICT.is_dir(), reason=f"the ICT-FaceKit light model, which is not part of the project, is not in {ICT}"
)
def test_a_photo_of_a_known_head_is_reconstructed_as_well_as_before(tmp_path: Path) -> None:
    case = next(case for case in plan() if case.name == CASE)
    head = IctModel(ICT).head(case.head_seed)
    lights = relighting_environments()[:1]  # one of them, for speed
    truth = photograph(case, head, average_landmarks(head), tmp_path, SIZE, SAMPLES, lights)
    config = Config(device="cpu", textureResolution=256, rtSamples=16, bands=5, envMapRes=32, report=False)
    found = reconstruct(truth.photo, tmp_path, config)
    assert found.folder is not None
    renderer = renderers.create("mitsuba", Settings("cpu"))
    assert isinstance(renderer, ShadowCaster)
    try:
        face = TrueFace.of(truth, renderer)
        rows = {name: row for name, row in stages(found).items() if name != "stage 1"}
        scores = score_case(truth, face, rows, fitted_mask(found.folder), renderer, np.stack(lights))
    finally:
        renderer.close()
    mean, second, third = scores["mean face"], scores["stage 2"], scores["stage 3"]
    assert third["geometry"]["median"] < 1.05 * mean["geometry"]["median"]
    assert third["geometry"]["median"] < 1.6
    assert third["albedo"]["error"] < 0.85 * third["albedo"]["flat"]
    assert second["albedo"]["error"] < mean["albedo"]["error"]
    assert second["light"]["diffuse"] < mean["light"]["diffuse"]
    assert third["psnr"] > 28 > mean["psnr"]
    assert third["relit"]["psnr"] > mean["relit"]["psnr"]
