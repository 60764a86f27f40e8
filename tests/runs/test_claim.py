"""Whose a result folder is: nothing of another photo or of the user is lost, and nothing stale stays."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import PORTRAIT
from PIL import Image

from nextface import Config, reconstruct, reconstruct_folder
from nextface.errors import OutputError
from nextface.export.claim import LOCK, MARK, claimed, our_files
from nextface.export.files import write_json
from nextface.photos.folder import LONGEST_NAME, result_name, result_names

NO_STAGES = frozenset({1, 2, 3})


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "me.jpg"
    path.parent.mkdir()
    path.write_bytes(b"one photo")
    return path


def write(folder: Path, source: Path, *names: str) -> list[str]:
    """A run that writes files; returns what it left because somebody had changed it."""
    with claimed(folder, source) as claim:
        for name in names:
            write_json(folder / name, {"name": name})
        return claim.remove_stale()


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MARK}


def test_what_a_later_run_does_not_make_is_removed(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "me"
    write(folder, photo, "a.json", "b.json", "debug/c.json", "checkpoints/stage3.npz")
    (folder / "mine.txt").write_text("the user's")
    assert write(folder, photo, "a.json", "checkpoints/stage1.npz") == []
    assert contents(folder) == {"a.json", "mine.txt", "checkpoints/stage1.npz", "checkpoints/stage3.npz"}
    assert not (folder / "debug").exists()
    assert our_files(folder) == {"a.json", "checkpoints/stage1.npz", "checkpoints/stage3.npz"}
    assert not (folder / LOCK).exists()


def test_what_the_user_changed_stays_and_is_told(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    write(folder, photo, "a.json", "b.json")
    (folder / "b.json").write_text("painted by hand")
    assert write(folder, photo, "a.json") == ["b.json"]
    assert contents(folder) == {"a.json", "b.json"}
    assert our_files(folder) == {"a.json"}


def test_a_run_that_fails_removes_nothing(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "me"
    write(folder, photo, "a.json", "b.json")
    with pytest.raises(ZeroDivisionError), claimed(folder, photo):
        write_json(folder / "a.json", {})
        raise ZeroDivisionError
    assert contents(folder) == {"a.json", "b.json"} == our_files(folder)
    assert write(folder, photo, "a.json") == []
    assert contents(folder) == {"a.json"}, "what the failed run did not make is still known to be ours"


def test_a_run_that_writes_nothing_leaves_nothing(photo: Path, tmp_path: Path) -> None:
    write(tmp_path / "out" / "me", photo)
    assert not (tmp_path / "out" / "me").exists()


def test_another_photo_of_the_same_name_is_refused(photo: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "out" / "me", tmp_path / "others" / "me.jpg"
    write(folder, photo, "a.json")
    other.parent.mkdir()
    other.write_bytes(b"another photo")
    with pytest.raises(OutputError, match=r"holds the results of .*photos/me\.jpg, not of .*others/me\.jpg"):
        write(folder, other, "b.json")
    assert contents(folder) == {"a.json"}
    shutil.copy(photo, other)
    write(folder, other, "b.json")  # the same photo, moved
    photo.write_bytes(b"another photo")
    other.write_bytes(b"the same photo, retouched in place")
    write(folder, other, "c.json")
    assert contents(folder) == {"c.json"}


def test_results_and_photos_may_move_together(photo: Path, tmp_path: Path) -> None:
    write(tmp_path / "out" / "me", photo, "a.json")
    (tmp_path / "new").mkdir()
    for name in ("photos", "out"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    moved = tmp_path / "new" / "photos" / "me.jpg"
    moved.write_bytes(b"retouched")
    write(tmp_path / "new" / "out" / "me", moved, "b.json")
    assert contents(tmp_path / "new" / "out" / "me") == {"b.json"}


def test_two_runs_at_the_same_time_are_refused(photo: Path, tmp_path: Path) -> None:
    with claimed(tmp_path / "me", photo), pytest.raises(OutputError, match="Another run is writing"):
        write(tmp_path / "me", photo)
    write(tmp_path / "me", photo, "a.json")


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "[]",
        '{"schemaVersion": 1}',
        '{"schemaVersion": 9, "source": "x", "files": {}}',
        "\0\0",
        '{"files": 3}',
    ],
)
def test_a_damaged_mark_costs_nothing(photo: Path, tmp_path: Path, mark: str) -> None:
    folder = tmp_path / "me"
    folder.mkdir()
    (folder / "old.json").write_text("{}")
    (folder / MARK).write_text(mark)
    write(folder, photo, "a.json")
    assert contents(folder) == {"old.json", "a.json"}


def test_a_forged_mark_removes_nothing_elsewhere(photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "me"
    write(folder, photo, "a.json")
    mark = json.loads((folder / MARK).read_text())
    status = photo.stat()
    for name in ("../../photos/me.jpg", str(photo)):
        mark["files"][name] = [status.st_size, status.st_mtime_ns]
    (folder / MARK).write_text(json.dumps(mark))
    write(folder, photo, "a.json")
    assert photo.exists()


@pytest.mark.parametrize(
    ("photo_name", "folder_name"),
    [
        ("...jpg", "photo"),
        ("..jpg", "photo"),
        ("....jpg", "photo"),
        (" .jpg", "photo"),
        ("..", "photo"),
        ("me. .jpg", "me"),
        (".jpg", ".jpg"),
        ("a.b.jpg", "a.b"),
        ("x" * 251 + ".jpg", "x" * LONGEST_NAME),
        ("é" * 125 + ".jpg", "é" * (LONGEST_NAME // 2)),
        (os.fsdecode(b"M\xfcller.jpg"), os.fsdecode(b"M\xfcller")),
    ],
)
def test_results_stay_in_the_output_folder(photo_name: str, folder_name: str) -> None:
    assert result_name(Path(photo_name)) == folder_name


def test_cut_names_are_distinct() -> None:
    photos = [Path("x" * 240 + end) for end in ("a.jpg", "b.jpg", "c.png")]
    names = result_names([*photos, Path("...jpg"), Path("..png")])
    assert len({name.casefold() for name in names}) == 5
    assert all(len(os.fsencode(name)) <= 255 and name not in (".", "..") for name in names)


def test_the_whole_program_keeps_to_it(tiny_config: Config, tmp_path: Path) -> None:
    """A photo called `...jpg`, then without EXR, then another photo of its name, then a folder beside it."""
    photo, out = tmp_path / "photos" / "...jpg", tmp_path / "deep" / "out"
    photo.parent.mkdir()
    with Image.open(PORTRAIT) as portrait:
        portrait.convert("RGB").save(photo, "JPEG")
        first = reconstruct(photo, out, tiny_config, skip_stages=NO_STAGES)
        assert first.folder == out / "photo"
        assert {path.name for path in tmp_path.iterdir()} == {"photos", "deep"}
        assert {path.name for path in out.parent.iterdir()} == {"out"}
        assert {"envMap_0.exr", "metrics.json", "mesh0.obj"} <= our_files(out / "photo")
        without = Config(**{**vars(tiny_config), "saveExr": False})
        reconstruct(photo, out, without, skip_stages=NO_STAGES)
        assert not (out / "photo" / "envMap_0.exr").exists()
        assert "envMap_0.exr" not in our_files(out / "photo")
        (tmp_path / "others").mkdir()
        portrait.convert("L").save(tmp_path / "others" / "photo.jpg")
    (outcome,) = reconstruct_folder(tmp_path / "others", out, tiny_config, skip_stages=NO_STAGES)
    assert outcome.status == "failed" and "holds the results of" in str(outcome.error)
    photo.rename(photo.parent / "b.jpg")
    with pytest.raises(OutputError, match=r"holds the results of .*others, not of .*photos"):
        reconstruct_folder(tmp_path / "photos", out, tiny_config, skip_stages=NO_STAGES)
