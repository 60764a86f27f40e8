"""A result folder read back: the same reconstruction, and words where a folder is none or is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PORTRAIT
from made_result import somebody
from rendered_photo import together
from rigged_photos import rigged

from nextface import Config, reconstruct
from nextface.errors import CheckpointError, ConfigError, ResultError
from nextface.export.claim import our_files
from nextface.export.files import write_json
from nextface.export.folder import scene_description
from nextface.export.saved.result import load_result
from nextface.models import create as create_model
from nextface.person.arrangement import MOMENT, OWN_POSES
from nextface.person.checkpoint import save_checkpoint
from nextface.person.circumstances import Circumstances
from nextface.person.parameters import Parameters
from nextface.person.sharing import SharingTable


def test_everything_comes_back(result_folder: Path) -> None:
    made, result = somebody(2), load_result(result_folder)
    ours = result.reconstruction
    assert len(ours) == len(result.descriptions) == 2
    for item in fields(Parameters):
        assert torch.equal(getattr(made.parameters, item.name), getattr(ours.parameters, item.name))
    for photo in range(2):
        wanted, scene = made.scene(photo), ours.scene(photo)
        assert torch.equal(wanted.mesh.vertices, scene.mesh.vertices)
        torch.testing.assert_close(wanted.camera.intrinsics, scene.camera.intrinsics)
        assert torch.equal(wanted.environment.radiance, scene.environment.radiance)
        assert (scene.camera.width, scene.camera.height) == (wanted.camera.width, wanted.camera.height)
    assert scene.material.is_mapped, "the last checkpoint's, which has maps"
    assert ours.metrics["backend"] == "vertex" and ours.folder == result_folder
    assert result.picture("mask", 1).dtype == np.uint8
    assert result.picture("roughness").dtype == np.uint16
    assert result.file("mesh", 1) == result_folder / "mesh1.obj"


@pytest.mark.parametrize("table", [MOMENT, {**OWN_POSES, "light": "photo"}], ids=["places known", "unknown"])
def test_cameras_of_one_moment_come_back(table: SharingTable, tmp_path: Path) -> None:
    truth = rigged(create_model("open"), 32, (-20.0, 20.0))
    known = [Circumstances(moment="one", camera="all")] * 2
    several = together([truth[0], truth[1]], table, known)
    made = replace(several, mounts=truth.mounts, light_of_world=table is MOMENT)
    save_checkpoint(made, tmp_path / "checkpoints" / "stage2.npz", 2)
    for photo in range(2):
        write_json(tmp_path / f"scene_{photo}.json", scene_description(made[photo], {}))
    ours = load_result(tmp_path).reconstruction
    assert dict(ours.sharing.table) == table
    for photo in range(2):
        wanted, scene = made.scene(photo), ours.scene(photo)
        assert torch.equal(wanted.mesh.vertices, scene.mesh.vertices)
        assert torch.equal(wanted.environment.radiance, scene.environment.radiance)
        assert torch.equal(wanted.camera.turn, scene.camera.turn)
        assert torch.equal(wanted.camera.translation, scene.camera.translation)


def test_a_checkpoint_of_another_run_is_passed_over(result_folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(result_folder, mine)
    other = somebody(2)
    other.parameters.identity[0, 3] += 0.1
    save_checkpoint(other, mine / "checkpoints" / "stage3.npz", 3)
    assert load_result(mine).reconstruction.material is None, "stage 2's, which has none"


def test_a_run_on_the_portrait_comes_back(finished: Path) -> None:
    result = load_result(finished)
    shown = json.loads((finished / "scene_0.json").read_text())
    camera = result.reconstruction.camera()
    np.testing.assert_allclose(camera.intrinsics[0].numpy(), shown["K"], rtol=1e-6)
    np.testing.assert_allclose(camera.translation[0].numpy(), shown["translation"], rtol=1e-6)
    light = result.reconstruction.light_coefficients()[0].numpy()
    np.testing.assert_allclose(light, shown["sh"]["coefficients"], atol=1e-5)
    assert (
        result.reconstruction.environment().radiance.shape[1] == result.picture("environmentPreview").shape[0]
    )


def described(**values: Any) -> Callable[[Path], object]:
    """Changes entries of scene_0.json; None takes one out."""

    def spoil(folder: Path) -> None:
        path = folder / "scene_0.json"
        entries = json.loads(path.read_text()) | values
        path.write_text(json.dumps({name: value for name, value in entries.items() if value is not None}))

    return spoil


def figured(**values: Any) -> Callable[[Path], object]:
    """Changes entries of metrics.json."""

    def spoil(folder: Path) -> None:
        path = folder / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return spoil


def cut(folder: Path) -> None:
    """Leaves the beginning of the diffuse map."""
    (folder / "diffuseMap_0.png").write_bytes((folder / "diffuseMap_0.png").read_bytes()[:900])


FEW = {"name": "open", "identity": [1.0], "expression": [], "albedo": []}
BAD: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "nothing there": (shutil.rmtree, ("does not exist",)),
    "no description": (lambda me: (me / "scene_0.json").unlink(), ("no scene_0.json",)),
    "a newer schema": (described(schemaVersion=2), ("schema 2", "update")),
    "an older schema": (described(schemaVersion=0), ("schema 0", "nextface reconstruct")),
    "no schema": (described(schemaVersion=None), ("scene_0.json", "schemaVersion")),
    "a model without coefficients": (described(model={"name": "open"}), ("model.identity",)),
    "an unknown model": (described(model=FEW | {"name": "mine"}), ("'mine'",)),
    "a camera without focal length": (described(K=[[0, 0, 1], [0, 0, 1], [0, 0, 1]]), (" K ",)),
    "a camera of words": (described(K="wide"), (" K ", "numbers")),
    "a huge picture": (described(width=10**9), ("width",)),
    "a file outside": (described(files={"input": "../../etc/passwd"}), ("files.input",)),
    "an absolute file": (described(files={"input": "C:\\me.png"}), ("files.input",)),
    "no JSON": (lambda me: (me / "scene_0.json").write_bytes(b"{\xff"), ("scene_0.json", "damaged")),
    "deep JSON": (lambda me: (me / "scene_0.json").write_text("[" * 10**5), ("scene_0.json", "damaged")),
    "a list": (lambda me: (me / "scene_1.json").write_text("[]"), ("scene_1.json",)),
    "no checkpoints": (lambda me: shutil.rmtree(me / "checkpoints"), ("checkpoints", "missing")),
    "another identity": (described(model=FEW), ("None of the checkpoints",)),
    "figures that are words": (figured(psnr="high"), ("metrics.json", "psnr is not a number")),
    "losses of no stage": (figured(lossCurves=[1.0]), ("metrics.json", "lossCurves is not a list")),
    "figures of nothing": (lambda me: (me / "metrics.json").write_text("nan?"), ("metrics.json", "damaged")),
    "a map that is gone": (lambda me: (me / "diffuseMap_0.png").unlink(), ("diffuseMap_0.png", "missing")),
    "a map cut short": (cut, ("diffuseMap_0.png", "damaged")),
    "a light that is no map": (
        lambda me: shutil.copy(me / "mask_0.png", me / "envMap_0.png"),
        ("envMap_0.png", "2:1"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_are_refused_in_words(name: str, result_folder: Path, tmp_path: Path) -> None:
    spoil, words = BAD[name]
    shutil.copytree(result_folder, tmp_path / "me")
    spoil(tmp_path / "me")
    with pytest.raises(ResultError) as refused:
        load_result(tmp_path / "me").picture("diffuse")
    for word in words:
        assert word in str(refused.value)


def test_a_folder_of_results_names_one_of_them(result_folder: Path) -> None:
    with pytest.raises(ResultError, match=f"It holds results, such as .*{result_folder.name}"):
        load_result(result_folder.parent)


def test_a_damaged_checkpoint_is_named(result_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(result_folder, tmp_path / "me")
    for stage in (2, 3):
        (tmp_path / "me" / "checkpoints" / f"stage{stage}.npz").write_bytes(b"PK damaged")
    with pytest.raises(CheckpointError, match=r"stage3\.npz"):
        load_result(tmp_path / "me")


def test_a_kind_that_was_never_written_is_said(result_folder: Path) -> None:
    with pytest.raises(ResultError, match="no hair"):
        load_result(result_folder).file("hair")


def test_the_key_export_formats_exports(tmp_path: Path, finished: Path, tiny_config: Config) -> None:
    """A run that has nothing left to fit writes what the key names, and knows the files as its own."""
    config = replace(tiny_config, exportFormats="glb, ply")
    checkpoint = finished / "checkpoints" / "stage3.npz"
    folder = reconstruct(PORTRAIT, tmp_path, config, checkpoint=checkpoint).folder
    assert folder is not None
    wanted = {f"export/{PORTRAIT.stem}.glb", f"export/{PORTRAIT.stem}.ply"}
    assert wanted <= our_files(folder)
    assert all((folder / name).stat().st_size > 10_000 for name in wanted)
    with pytest.raises(ConfigError, match="exportFormats"):
        replace(tiny_config, exportFormats="glb, fbx")
