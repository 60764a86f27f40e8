"""Several cameras at one moment, through the command line."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rigged_photos import photographed, rigged, true_views
from typer.testing import CliRunner

from benchmarks.rigs import off
from nextface import cli
from nextface.cameras.reading import read_cameras
from nextface.cameras.transforms import write_transforms
from nextface.export.saved.result import load_result
from nextface.models import create as create_model
from nextface.scene.geometry import rotation_vector

SIZE = 96
QUICK = ["--set", "renderer=vertex", "--set", "device=cpu", "--set", f"maxResolution={SIZE}"]
QUICK += ["--set", "iterStep1=24", "--set", "iterStep2=3", "--set", "textureResolution=256"]
QUICK += ["--set", "envMapRes=32", "--set", "rtSamples=1", "--set", "bands=3", "--set", "report=False"]
QUICK += ["--skipStage3"]
UNIT = 0.02  # of the cameras' file, in which a millimetre is so much


def run(*words: object) -> str:
    result = CliRunner().invoke(cli.app, ["multiview", *map(str, words), *QUICK])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, list]:  # type: ignore[type-arg]
    """Photos of two cameras 50 degrees apart, their landmarks, a transforms.json in its own unit, the truth."""
    folder = tmp_path_factory.mktemp("rig")
    truth = rigged(create_model("open"), SIZE, (-20.0, 30.0))
    photos, points = photographed(truth, folder)
    views = true_views(truth)
    told = [
        replace(view, place=replace(view.place, translation=view.place.translation * UNIT)) for view in views
    ]
    write_transforms(told, folder / "transforms.json", metric=False)
    return photos, points, folder / "transforms.json", views


def assert_read_back(folder: Path) -> None:
    """What is read of a result folder is what its files tell of every photo."""
    read = load_result(folder).reconstruction
    for photo in range(2):
        scene = json.loads((folder / f"scene_{photo}.json").read_text())
        camera = read.camera(photo)
        np.testing.assert_allclose(camera.translation[0], scene["translation"], rtol=1e-5)
        np.testing.assert_allclose(rotation_vector(camera.turn[0]), scene["rotation"], atol=1e-5)
        np.testing.assert_allclose(read.light_coefficients()[photo], scene["sh"]["coefficients"], atol=1e-5)


def test_known_cameras_share_one_pose_and_the_head_tells_their_unit(taken, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    photos, points, cameras, views = taken
    said = run(photos, "--output", tmp_path, "--cameras", cameras, "--landmarks", points)
    assert "where the cameras stand around the head" in said
    folder = tmp_path / "photos"
    for source in ("transforms.json", "colmap"):
        found = read_cameras(folder / "cameras" / source, [])
        degrees, scale, _, places = off(found.views, views)
        assert degrees < 0.01 and abs(scale) < 8 and places < 0.1  # the head's size is known to some percent
    scenes = [json.loads((folder / f"scene_{photo}.json").read_text()) for photo in range(2)]
    assert scenes[0]["rig"]["lightOfWorld"] and not scenes[0]["rig"]["metric"] and scenes[1]["rig"]["known"]
    assert scenes[0]["model"] == scenes[1]["model"]
    lights = [np.array(scene["sh"]["coefficients"]) for scene in scenes]
    np.testing.assert_allclose(lights[0][0], lights[1][0], rtol=1e-5)  # even light is the same from all sides
    assert np.abs(lights[0][1:4] - lights[1][1:4]).max() > 1e-3
    for band in range(3):  # a turn keeps the power of every band
        rows = slice(band**2, (band + 1) ** 2)
        powers = [np.linalg.norm(light[rows]) for light in lights]
        assert math.isclose(*powers, rel_tol=1e-4)
    assert_read_back(folder)
    resumed = tmp_path / "resumed"
    checkpoint = folder / "checkpoints" / "stage2.npz"
    run(photos, "--output", resumed, "--cameras", cameras, "--landmarks", points, "--checkpoint", checkpoint)
    again = json.loads((resumed / "photos" / "scene_1.json").read_text())
    np.testing.assert_allclose(again["translation"], scenes[1]["translation"], rtol=1e-5)


def test_unknown_places_are_found_from_the_face(taken, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    photos, points, cameras, views = taken
    told = json.loads(cameras.read_text())
    for frame in told["frames"]:
        del frame["transform_matrix"]
    (tmp_path / "lenses.json").write_text(json.dumps(told))
    run(photos, "--output", tmp_path, "--cameras", tmp_path / "lenses.json", "--landmarks", points)
    found = read_cameras(tmp_path / "photos" / "cameras" / "transforms.json", [])
    degrees, scale, _, places = off(found.views, views)
    assert degrees < 2.5 and abs(scale) < 8 and places < 40  # mm, at 760 mm
    scene = json.loads((tmp_path / "photos" / "scene_0.json").read_text())
    assert not scene["rig"]["known"]
    assert_read_back(tmp_path / "photos")


def test_what_contradicts_is_told(taken, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    photos, _, cameras, _ = taken
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(photos / "0.png", others / "somebody.png")
    for words, told in (
        ((others, "--cameras", cameras), "belong to other photos"),
        ((photos, "--cameras", cameras, "--unit", "ell"), "units are mm, cm, m, inch"),
        ((photos, "--unit", "mm"), "--cameras"),
        ((photos, "--cameras", tmp_path / "none.json"), "There is no file or folder of cameras"),
    ):
        result = CliRunner().invoke(
            cli.app, ["multiview", *map(str, words), "--output", str(tmp_path / "out"), *QUICK]
        )
        assert result.exit_code == 2 and told in result.output.replace("\n", " "), result.output
