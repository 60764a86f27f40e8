"""A folder of photos: which are taken, where results go, and what a bad photo or Ctrl-C does to the others."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import PORTRAIT, TINY, assert_clear, nextface, settings
from ctrl_c import PressesCtrlC
from PIL import Image

import renderers
from nextface import Config, reconstruct_folder
from nextface.errors import ConfigError, Interrupted, PhotoError
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.photos.folder import find_photos, result_names, sidecar
from nextface.runs.threads import share_of_cores
from nextface.system.progress import Silent
from nextface.system.threads import available_cores
from renderers.renderer import Renderer
from renderers.settings import Settings

QUICK = {**TINY, "iterStep2": 1, "iterStep3": 1}


def write_portrait(path: Path, size: int = 512) -> None:
    """The portrait, smaller."""
    with Image.open(PORTRAIT) as portrait:
        portrait.convert("RGB").resize((size, size)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two good photos of different sizes, a broken one, and other things."""
    folder = tmp_path_factory.mktemp("photos")
    write_portrait(folder / "a.png")
    write_portrait(folder / "a.jpg", 400)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (folder / "notes.txt").write_text("No photo.")
    (folder / ".hidden.jpg").touch()
    (folder / "sub.jpg").mkdir()
    return folder


def index(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {item["photo"]: item for item in content["photos"]}


# Which photos, and where to


def test_photos_are_taken_in_the_order_of_their_names(photos: Path) -> None:
    found = find_photos(photos)
    assert [path.name for path in found.photos] == ["a.jpg", "a.png", "broken.jpg"]
    assert [path.name for path in found.others] == ["notes.txt"]
    assert "notes.txt" in found.note
    assert len(found.note.splitlines()) == 1


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None, Path.touch], ids=["empty", "missing", "file"])
def test_a_folder_without_photos_is_an_error(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "photos")
    with pytest.raises(PhotoError, match="photos"):
        reconstruct_folder(tmp_path / "photos", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        ("a.jpg b.png", "a b"),
        ("a.jpg a.png b.jpg", "a_jpg a_png b"),
        ("A.jpg a.png", "A_jpg a_png"),
        ("a.JPG a.jpg", "a_JPG a_jpg_2"),
        ("a.jpg a.png a_jpg.jpg", "a_jpg_2 a_png a_jpg"),
        ("index.json.png Index.html.jpg", "index.json_png Index.html_jpg"),
    ],
)
def test_result_folders_are_distinct(files: str, folders: str) -> None:
    names = result_names([Path(name) for name in files.split()])
    assert names == folders.split()


def test_landmarks_and_masks_are_found_by_the_photos_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    assert sidecar(tmp_path, Path("photos/a.jpg"), ".json", "--landmarks") == tmp_path / "a.json"
    assert sidecar(tmp_path, Path("photos/b.jpg"), ".json", "--landmarks") is None
    assert sidecar(None, Path("photos/a.jpg"), ".json", "--landmarks") is None
    with pytest.raises(ConfigError, match=r"--mask.*folder"):
        sidecar(tmp_path / "a.json", Path("photos/a.jpg"), ".png", "--mask")


def test_workers_share_the_cores() -> None:
    assert share_of_cores(Config(renderer="mitsuba"), 1).threads == available_cores()
    assert share_of_cores(Config(renderer="mitsuba"), 1000).threads == 1
    assert share_of_cores(Config(renderer="mitsuba", threads=3), 1000).threads == 3
    assert share_of_cores(Config(renderer="vertex"), 2) == Config(renderer="vertex")


# Runs


def test_a_bad_photo_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    """Through the command line, with two processes."""
    arguments = ["reconstruct", "--input", photos, "--output", tmp_path, "--renderer", "vertex", "--workers", 2]
    run = nextface(*map(str, arguments), *settings(QUICK), "--skipStage2", "--skipStage3")
    assert_clear(run, 3, ["broken.jpg: failed", "notes.txt", "2 of 3", "index.json"])
    assert run.stderr.splitlines()[-1].startswith("Error: broken.jpg"), "failures are said at the end"
    found = index(tmp_path)
    assert {name: item["status"] for name, item in found.items()} == {
        "a.jpg": "done",
        "a.png": "done",
        "broken.jpg": "failed",
    }
    assert "broken.jpg" in str(found["broken.jpg"]["error"])
    page = (tmp_path / "index.html").read_text()
    for name, item in found.items():
        folder = tmp_path / str(item["folder"])
        if item["status"] == "done":
            assert {"mesh0.obj", "scene_0.json", "diffuseMap_0.png"} <= {path.name for path in folder.iterdir()}
            metrics = json.loads((folder / "metrics.json").read_text())
            assert metrics["psnr"] == item["psnr"]
            assert metrics["photos"][0]["photo"] == name
            assert f"{folder.name}/render_0.png" in page


def test_what_a_renderer_warns_of_is_told_of_every_photo_that_it_draws(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said once."""
    create = renderers.create

    def warned(name: str, settings: Settings) -> Renderer:
        warnings.warn("it is slower than it could be", stacklevel=1)
        return create(name, settings)

    class Listener(Silent):
        said: ClassVar[list[str]] = []

        def warn(self, text: str) -> None:
            self.said.append(text)

    monkeypatch.setattr(renderers, "create", warned)
    config = Config(renderer="vertex", **QUICK)  # type: ignore[arg-type]
    reconstruct_folder(photos, tmp_path, config, skip_stages=frozenset({1, 2, 3}), progress=Listener())
    told = {name: "it is slower than it could be" in item["warnings"] for name, item in index(tmp_path).items()}
    assert told == {"a.jpg": True, "a.png": True, "broken.jpg": False}
    assert Listener.said.count("it is slower than it could be") == 1
    assert (tmp_path / "index.html").read_text().count("it is slower than it could be") == 2


def test_all_bad_photos_end_with_the_same_code(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.png").write_bytes(b"no")
    run = nextface("reconstruct", "--input", str(tmp_path / "photos"), "--output", str(tmp_path / "out"))
    assert_clear(run, 3, ["one.png: failed", "0 of 1"])


def test_ctrl_c_stops_the_whole_run_and_keeps_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    config = Config(renderer="vertex", **TINY)  # type: ignore[arg-type]
    with pytest.raises(Interrupted, match=r"0 of 3 photos are done") as caught:
        reconstruct_folder(photos, tmp_path, config, progress=PressesCtrlC("2"))
    assert {name: item["status"] for name, item in index(tmp_path).items()} == {
        "a.jpg": "interrupted",
        "a.png": "waiting",
        "broken.jpg": "waiting",
    }
    checkpoint = tmp_path / "a_jpg" / "checkpoints" / "stage2.npz"
    assert str(checkpoint) in str(caught.value)
    assert not Checkpoint.load(checkpoint, create_model("open")).finished


def test_an_unforeseen_error_costs_its_photo_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("somewhere deep")

    monkeypatch.setattr("nextface.runs.run.fit_by_gauss_newton", fail)
    config = replace(Config(renderer="vertex", **QUICK), iterStep1=2)  # type: ignore[arg-type]
    outcomes = reconstruct_folder(photos, tmp_path, config)
    assert [outcome.status for outcome in outcomes] == ["failed"] * 3
    assert "our fault" in str(outcomes[0].error) and "our fault" not in str(outcomes[2].error)
    assert "somewhere deep" in (tmp_path / "a_jpg" / "error.log").read_text()
    assert not (tmp_path / "broken").exists()
