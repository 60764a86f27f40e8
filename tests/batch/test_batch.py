"""Lists, records and results of a batch."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PORTRAIT, TINY, command, environment
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from nextface import Config, cli
from nextface.batch.item import Item, Tried, failed
from nextface.batch.places import Output, fetched, listed
from nextface.batch.records import PROOF, keep, kept_outcome, key_of
from nextface.batch.table import Board
from nextface.batch.work import ItemWork
from nextface.errors import BatchError, PhotoError
from nextface.export.report.index import Outcome

QUICK = [f"{key}={value}" for key, value in {**TINY, "iterStep2": 1, "iterStep3": 1}.items()]
QUICK += ["renderer=vertex", "device=cpu", "envMapRes=32", "bands=3"]


def batch(*words: object) -> tuple[int, str]:
    settings = [word for setting in QUICK for word in ("--set", setting)]
    result = CliRunner().invoke(cli.app, ["batch", *map(str, words), *settings])
    return result.exit_code, result.output


def test_a_command_that_is_killed_goes_on_with_its_list(tmp_path: Path) -> None:
    """The process that holds the list ends without a word, with its worker; the same command does the rest."""
    with Image.open(PORTRAIT) as portrait:
        portrait.convert("RGB").save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("# people\na.png\n\nmissing.png\na.png\n")
    out = tmp_path / "out"
    words = [tmp_path / "list.txt", "--output", out]
    first = command("batch", *words, *(word for setting in QUICK for word in ("--set", setting)))
    with (tmp_path / "said.txt").open("w") as said:
        head = subprocess.Popen(first, env=environment(), stdout=said, stderr=said)
        while not (out / ".batch" / "a.json").is_file():
            assert head.poll() is None, (tmp_path / "said.txt").read_text()
            time.sleep(0.02)
        head.kill()
        head.wait()
    mesh = out / "a" / "mesh0.obj"
    written = mesh.stat().st_mtime_ns
    code, told = batch(*words)
    assert code == 3 and "There is no photo" in told, told
    assert "2 photos: 0 done, 1 done before, 1 failed, 0 running, 0 waiting" in told
    assert mesh.stat().st_mtime_ns == written
    found = json.loads((out / "index.json").read_text())["photos"]
    assert [(one["photo"], one["status"]) for one in found] == [("a.png", "done"), ("missing.png", "failed")]


def test_a_record_goes_before_its_results_are_written_over(tmp_path: Path) -> None:
    """A try that comes to nothing leaves no record of earlier results, whatever it has left of them."""
    photo, output = tmp_path / "a.png", Output(str(tmp_path / "out"))
    Image.new("RGB", (64, 64), (90, 90, 90)).save(photo)
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / PROOF).write_text("{}")
    keep(output, "a", "of other settings", Outcome(photo, Path("a"), "done", 30.0, 1.0, None))
    with closing(ItemWork(Config(renderer="vertex"), output.place)) as work:
        assert work(Item(str(photo), "a")).outcome.status == "failed"
    assert kept_outcome(output, "a", "of other settings", photo) is None


def test_folders_and_lists_name_photos(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.md", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert listed(str(tmp_path)) == (
        [str(tmp_path / "a.PNG"), str(tmp_path / "b.jpg")],
        [str(tmp_path / "notes.md")],
    )
    assert listed(f"file://{tmp_path}")[0] == [f"file://{tmp_path}/a.PNG", f"file://{tmp_path}/b.jpg"]
    (tmp_path / "notes.md").write_text("a.PNG\n/x/y.jpg\nmemory://z.jpg\n")
    named = [str(tmp_path / "a.PNG"), "/x/y.jpg", "memory://z.jpg"]
    assert listed(str(tmp_path / "notes.md"))[0] == named


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.txt", None, "cannot be read"),
        ("empty.txt", b"# nothing\n", "names no photo"),
        ("photo.jpg", b"\xff\xd8\xff\xe0", "is no list"),
    ],
)
def test_a_list_that_is_none_is_told(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BatchError, match=told):
        listed(str(tmp_path / name))
    (tmp_path / "folder").mkdir()
    with pytest.raises(BatchError, match="no photo in"):
        listed(str(tmp_path / "folder"))
    with pytest.raises(BatchError, match="cannot be opened"):
        listed("nowhere://a/b")


@pytest.mark.parametrize("place", ["local", "memory://results"])
def test_results_go_where_they_are_to_be_and_are_known_again(tmp_path: Path, place: str) -> None:
    output = Output(str(tmp_path / "out") if place == "local" else place)
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"pixels")
    config = Config()
    key = key_of(photo, [], config)
    assert key_of(photo, [], replace(config, threads=7)) == key
    assert key_of(photo, [], replace(config, seed=7)) != key
    assert key_of(photo, [photo], config) != key
    outcome = Outcome(photo, Path("a"), "done", 31.5, 4.0, None, ("beware",))
    keep(output, "a", key, outcome)
    assert kept_outcome(output, "a", key, photo) is None, "there are no results"
    with output.folder("a") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "deep").mkdir()
        (folder / "deep" / "b.txt").write_text("b")
        (folder / "metrics.json").write_text("{}")
    assert output.read("a/deep/b.txt") == b"b" and output.read("a/none") is None
    assert kept_outcome(output, "a", key, photo) == outcome
    assert kept_outcome(output, "a", "another", photo) is None
    with output.folder(".batch") as folder:
        (folder / "a.json").write_text('{"key": ')
    assert kept_outcome(output, "a", key, photo) is None, "a damaged record"


def test_a_remote_photo_that_is_not_there_is_told() -> None:
    with pytest.raises(PhotoError, match=r"memory://nobody\.jpg"), fetched("memory://nobody.jpg"):
        pass


def test_the_board_counts_and_says_why() -> None:
    board, items = Board(4), [Item(f"{name}.jpg", name) for name in "abcd"]
    for number, item in enumerate(items[:3]):
        board.began(number, item)
    done = Outcome(Path("a.jpg"), Path("a"), "done", None, 1.0, None)
    board.ended(0, items[0], Tried(done))
    board.again(1, items[1], Tried(failed(items[1], "its worker was lost"), again=True))
    board.ended(2, items[2], Tried(failed(items[2], "no face")))
    assert "4 photos: 1 done, 0 done before, 1 failed, 0 running, 2 waiting, 1 tried again" in board.line()
    console = Console(record=True, width=120, file=None)
    with console.capture() as shown:
        console.print(board)
    assert "no face" in shown.get() and "its worker was lost" in shown.get()
