"""Blender draws the reconstruction again: Cycles against the project's ray tracer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hostile import command
from PIL import Image

import renderers
from nextface.export.folder import draw
from nextface.export.pictures import over_black, psnr
from nextface.export.saved.result import SavedResult
from renderers.settings import Settings

PHOTO = 1
ENOUGH = 30.0  # dB
SAMPLES = 64


@pytest.mark.skipif(shutil.which("blender") is None, reason="there is no Blender on this machine")
def test_cycles_draws_the_reconstruction(result_folder: Path, result: SavedResult, tmp_path: Path) -> None:
    answer = command("export", result_folder, "--format", "blender", "--output", tmp_path, "--photo", PHOTO)
    assert answer.code == 0, answer.said
    words = ["blender", "--background", "--factory-startup", "--python-exit-code", "1"]
    words += ["--python", str(tmp_path / "open_scene.py"), "--"]
    words += ["--render", str(tmp_path / "cycles.png"), "--samples", str(SAMPLES), "--threads", "1"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    with Image.open(tmp_path / "cycles.png") as image:
        found = np.asarray(image)
    renderer = renderers.create("mitsuba", Settings(device="cpu", threads=1))
    wanted = draw(result.reconstruction, renderer, SAMPLES, 0, PHOTO)
    assert found.shape == wanted.shape
    inside = (wanted[..., 3] == 255) & (found[..., 3] == 255)
    assert inside.mean() > 0.2
    quality = psnr(over_black(found), over_black(wanted), inside)
    assert quality is not None and quality > ENOUGH
