"""Every face model of others through the command line: three stages with `mitsuba`; one drawn and converted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, TINY, settings
from test_basel import write_2009, write_2017
from test_flame import flame_arrays, write_pickle
from test_gnm import gnm_arrays
from test_ict import write_model
from typer.testing import CliRunner

from nextface.cli import app
from nextface.system.paths import cache_folder

SURFACE = 3000  # vertices of Basel's heads here, where the schema leaves it open


def write_flame(folder: Path) -> None:
    write_pickle(folder / "generic_model.pkl", flame_arrays())


def write_gnm(folder: Path) -> None:
    np.savez(folder / "gnm_head.npz", **gnm_arrays())  # type: ignore[arg-type]


ROWS: dict[str, Callable[[Path], None]] = {
    "basel2009": lambda folder: write_2009(folder, SURFACE, SURFACE + 100, SURFACE),
    "basel2017": lambda folder: write_2017(folder, SURFACE),
    "flame": write_flame,
    "gnm": write_gnm,
    "ict": lambda folder: write_model(folder / "FaceXModel"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache of face models; what is known about LLVM is kept, to save time."""
    folder = tmp_path_factory.mktemp("cache")
    known = cache_folder() / "probes.json"
    if known.is_file():
        (folder / "nextface").mkdir()
        shutil.copy(known, folder / "nextface")
    return folder


@pytest.mark.parametrize("name", ROWS)
def test_three_stages_with_mitsuba(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    files, output = tmp_path / "files", tmp_path / "out"
    files.mkdir()
    ROWS[name](files)
    words = ["reconstruct", str(PORTRAIT), "--output", str(output), "--renderer", "mitsuba", *settings(TINY)]
    run = CliRunner().invoke(app, [*words, "--set", f"morphableModel={name}", "--set", f"path={files}"])
    assert run.exit_code == 0, run.output
    result = output / PORTRAIT.stem
    assert json.loads((result / "scene_0.json").read_text())["model"]["name"] == name
    metrics = json.loads((result / "metrics.json").read_text())
    assert set(metrics["iterations"]) == {"stage1", "stage2", "stage3"}
    assert metrics["psnr"] > max(10.0, metrics["psnrStage2"])  # dB; two iterations each
    assert (result / "uncertainty_0.npz").is_file(), "Gauss-Newton on images by light transfer"
    assert (result / "diffuseMap_0.png").is_file()
    if name == "gnm":  # joints, and vertices in no triangle
        drawn_and_converted(files, result, tmp_path / "gnm.png")


def drawn_and_converted(files: Path, result: Path, picture: Path) -> None:
    words = ["--models", str(files)]
    shown = CliRunner().invoke(app, ["model", "show", "gnm", "--output", str(picture), *words])
    assert shown.exit_code == 0 and picture.stat().st_size > 50_000, shown.output
    carried = CliRunner().invoke(app, ["convert", str(result), "--to", "open", *words])
    assert carried.exit_code == 0, carried.output
    told = json.loads((result / "convert" / "open" / "coefficients_0.json").read_text())
    assert (told["model"], told["from"]) == ("open", "gnm")
    assert told["residualMm"]["median"] < 3.0
