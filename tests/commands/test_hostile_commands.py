"""Command lines, settings and places for results that make no sense: each ends in words, not in a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PORTRAIT
from filelock import FileLock
from hostile import QUICK, Answer, Situation, check, command, each

from nextface.export.claim import LOCK, MARK
from nextface.export.report.index import Outcome, write_index


def words(*line: str) -> Callable[[Path], Answer]:
    """A command line; "{folder}" stands for the folder."""
    return lambda folder: command(*(word.format(folder=folder) for word in line))


def lines() -> Iterator[Situation]:
    cases: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "no photo": (("reconstruct",), ("Which photo", "reconstruct PHOTO")),
        "an unknown command": (("reconstrcut",), ("reconstrcut",)),
        "an unknown option": (("reconstruct", "a.jpg", "--colour"), ("--colour",)),
        "an option of another program": (("reconstruct", "-rf", "a.jpg"), ("-r",)),
        "an option without its value": (("reconstruct", "--input"), ("--input",)),
        "two photos": (("reconstruct", "a.jpg", "b.jpg"), ("One photo or folder",)),
        "two hundred photos": (("reconstruct", *["a.jpg"] * 200), ("One photo or folder", "...")),
        "a photo twice": (("reconstruct", "a.jpg", "--input", "a.jpg"), ("One photo or folder",)),
        "an empty word": (("reconstruct", ""), ("empty",)),
        "spaces": (("reconstruct", "  \t"), ("empty",)),
        "an empty checkpoint": (("reconstruct", "a.jpg", "--checkpoint", ""), ("--checkpoint", "empty")),
        "empty landmarks": (("reconstruct", "a.jpg", "--landmarks", ""), ("--landmarks", "empty")),
        "an empty configuration": (("reconstruct", "a.jpg", "--config", ""), ("--config", "empty")),
        "an empty demo": (("demo", "--output", ""), ("--output", "empty")),
        "a face before the first": (("reconstruct", "a.jpg", "--face", "-1"), ("--face",)),
        "half a face": (("reconstruct", "a.jpg", "--face", "0.5"), ("--face",)),
        "a face in words": (("reconstruct", "a.jpg", "--face", "first"), ("--face",)),
        "a face of a folder": (("reconstruct", "{folder}", "--face", "0"), ("--face", "one photo")),
        "no workers": (("reconstruct", "{folder}", "--workers", "0"), ("--workers",)),
        "workers for a photo": (("reconstruct", str(PORTRAIT), "--workers", "2"), ("--workers", "folder")),
        "workers for a person": (
            ("reconstruct", "{folder}", "--sharedIdentity", "--workers", "2"),
            ("--workers",),
        ),
        "a person in a photo": (("reconstruct", str(PORTRAIT), "--sharedIdentity"), ("--sharedIdentity",)),
        "a person nowhere": (("reconstruct", "a.jpg", "--sharedIdentity"), ("There is no folder a.jpg",)),
        "a folder's checkpoint": (("reconstruct", "{folder}", "--checkpoint", "c.npz"), ("--checkpoint",)),
        "an empty folder": (("reconstruct", "{folder}"), ("no photo", "{folder}")),
        "a photo that is not there": (("reconstruct", "{folder}/a.jpg"), ("There is no photo", "a.jpg")),
        "a name like a switch": (("reconstruct", "--", "--face"), ("There is no photo", "--face")),
        "a name with line breaks": (("reconstruct", "a\nb.jpg"), ("There is no photo",)),
        "no renderer": (("reconstruct", "a.jpg", "--renderer", ""), ("renderer",)),
        "a renderer of another case": (("reconstruct", "a.jpg", "--renderer", "Vertex"), ("vertex",)),
        "a device that nobody has": (("reconstruct", "a.jpg", "--device", "cuda:7"), ("--device", "cuda")),
        "arguments for the doctor": (("doctor", "me"), ("me",)),
        "nothing to set up": (("setup", "blender"), ("blender",)),
        "a Python for redner that is none": (
            ("setup", "redner", "--python", "{folder}/python"),
            ("{folder}/python",),
        ),
    }
    for name, (line, said) in cases.items():
        yield Situation(name, words(*line), said)


def settings_given() -> Iterator[Situation]:
    for text in (
        *("", "=", "=3", "bands", "bands=", "bands=nine", "bands=2.5", "bands=1e400", "bands=-1", "bands=0x10"),
        *("bands = 3 = 4", "bandz=3", "seed=-1", "seed=99999999999999999999", "seed=True", "weightLight=nan"),
        *("weightLight=-inf", "weightLight=1e7", "saveExr=maybe", "textureResolution=512.5", "device=gpu"),
        *(
            "renderer=blender",
            "renderer=",
            "morphableModel=waxwork",
            "camFocalLength=500",
            "__class__=1",
            "bänds=x",
        ),
        "maxResolution=١٢",
    ):
        key = text.partition("=")[0].strip()
        yield Situation(f"--set {text!r}", words("config", "--set", text), ("--set", key))


def settings_files() -> Iterator[Situation]:
    def file(content: bytes) -> Callable[[Path], Answer]:
        def act(folder: Path) -> Answer:
            (folder / "my.ini").write_bytes(content)
            return command("config", "--config", folder / "my.ini")

        return act

    for name, content in {
        "binary": bytes(range(256)),
        "UTF-16": "seed = 3".encode("utf-16"),
        "JSON": b'{"seed": 3}',
        "YAML": b"seed: 3\n",
        "a key alone": b"seed\n",
        "twice the same": b"seed = 3\nseed = 3\n",
        "no value": b"seed = ; nothing\n",
        "an open quote": b'device = "cpu\n',
        "a key of the original": b"smoothSh = True\n",
        "a photo": PORTRAIT.read_bytes(),
        "zeros": b"seed = 3\0\n",
        "a very long line": b"seed = " + b"9" * 100_000,
    }.items():
        yield Situation(f"settings: {name}", file(content), ("my.ini",))
    yield Situation("settings: a folder", lambda folder: command("config", "--config", folder), ("{folder}",))
    yield Situation(
        "settings: not there", words("config", "--config", "{folder}/no.ini"), ("no.ini", "cannot be read")
    )
    yield Situation(
        "settings: a name of 300 letters",
        words("config", "--config", "x" * 300),
        ("cannot be read", "too long"),
    )


def places() -> Iterator[Situation]:
    """Where results cannot go."""

    def to(prepare: Callable[[Path], Path]) -> Callable[[Path], Answer]:
        def act(folder: Path) -> Answer:
            return command("reconstruct", PORTRAIT, "--output", prepare(folder), *QUICK)

        return act

    def a_file(folder: Path) -> Path:
        (folder / "file").touch()
        return folder / "file"

    def a_loop(folder: Path) -> Path:
        (folder / "loop").symlink_to("loop")
        return folder / "loop"

    def results_are_a_file(folder: Path) -> Path:
        (folder / PORTRAIT.stem).touch()
        return folder

    def a_mark_that_is_a_folder(folder: Path) -> Path:
        (folder / PORTRAIT.stem / MARK).mkdir(parents=True)
        return folder

    def a_lock_that_is_a_folder(folder: Path) -> Path:
        (folder / PORTRAIT.stem / LOCK).mkdir(parents=True)
        return folder

    def of_another(folder: Path) -> Path:
        (folder / PORTRAIT.stem).mkdir()
        mark = {"schemaVersion": 1, "source": "../other.png", "sha256": "0", "files": {"a": [0, 0]}}
        (folder / PORTRAIT.stem / MARK).write_text(json.dumps(mark))
        return folder

    for name, prepare, said in (
        ("a file", a_file, "cannot be written"),
        ("below a file", lambda folder: a_file(folder) / "deep" / "er", "cannot be written"),
        ("below the null device", lambda folder: Path("/dev/null/out"), "cannot be written"),
        ("in /proc", lambda folder: Path("/proc/out"), "cannot be written"),
        ("a link to itself", a_loop, "cannot be written"),
        ("a name of 300 letters", lambda folder: folder / ("x" * 300), "too long"),
        ("the results' folder is a file", results_are_a_file, "cannot be written"),
        ("the mark is a folder", a_mark_that_is_a_folder, "cannot be written"),
        ("the lock is a folder", a_lock_that_is_a_folder, "cannot be written"),
        ("another photo's", of_another, "other.png"),
    ):
        yield Situation(f"results: {name}", to(prepare), (said,))

    def a_folder_of_photos(folder: Path) -> Answer:
        (folder / "photos").mkdir()
        (folder / "photos" / "one.png").touch()
        (folder / "out").mkdir()
        (folder / "out" / "one").touch()
        return command("reconstruct", folder / "photos", "--output", folder / "out", *QUICK)

    yield Situation("results: a folder's are a file", a_folder_of_photos, ("cannot be written", "0 of 1"), 3)


@each([*lines(), *settings_given(), *settings_files(), *places()])
def test_it_ends_in_words(situation: Situation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(situation, tmp_path)


def test_a_folder_that_another_run_holds(tmp_path: Path) -> None:
    (tmp_path / PORTRAIT.stem).mkdir()
    with FileLock(tmp_path / PORTRAIT.stem / LOCK):
        answer = command("reconstruct", PORTRAIT, "--output", tmp_path, *QUICK)
    assert answer.code == 2 and "Another run is writing" in answer.said


def test_the_index_tells_every_warning_and_any_name(tmp_path: Path) -> None:
    odd = "M\udcfcller <b>&\"'#?.jpg"
    outcomes = [
        Outcome(Path(odd), tmp_path / odd, "done", 30.0, 1.0, None, ("<i>dim</i>", "two faces")),
        Outcome(Path("b.jpg"), tmp_path / "b", "failed", None, 1.0, "no face", ("upside down",)),
    ]
    write_index(tmp_path, tmp_path, outcomes, [])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    for text in ("&lt;i&gt;dim&lt;/i&gt;", "two faces", "upside down", "M%FCller%20%3Cb%3E%26%22%27%23%3F.jpg"):
        assert text in page
    assert "<b>" not in page and "<i>" not in page
    content = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert content["photos"][0]["photo"] == odd
    assert [len(photo["warnings"]) for photo in content["photos"]] == [2, 1]
