"""However a run ends, but by SIGKILL: its state is kept, and what is said is true and enough to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PORTRAIT, TINY, assert_clear, command, environment, settings
from PIL import Image
from redner_set_up import require_redner

from nextface import Config, reconstruct, reconstruct_folder
from nextface.errors import Interrupted, RendererError, TooLittleMemoryError
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.system.atomic import TEMPORARY
from nextface.system.progress import Silent, Stage

ENDLESS = {**TINY, "iterStep2": 100_000, "threads": 1}


def checkpoint_of(folder: Path, stage: int) -> Path:
    return folder / "checkpoints" / f"stage{stage}.npz"


def kept(folder: Path, stage: int) -> Checkpoint:
    return Checkpoint.load(checkpoint_of(folder, stage), create_model("open"))


class Happens(Silent):
    """Something that happens in every iteration of a stage, from the first."""

    def __init__(self, stage: int, event: Callable[[], object]) -> None:
        self.stage_number, self.event, self.running = str(stage), event, ""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        self.running = name
        yield self
        self.running = ""

    def advance(self, loss: float) -> None:
        if self.running.startswith(self.stage_number):
            self.event()


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def press_often() -> None:
    for _ in range(5):
        press()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_asks_for_an_end_keeps_the_state(
    number: signal.Signals, tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    progress = Happens(2, lambda: signal.raise_signal(number))
    with pytest.raises(Interrupted, match=r"in stage 2.*\n.*--checkpoint .*stage2\.npz"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(finished, 1), progress=progress)
    assert not kept(tmp_path / PORTRAIT.stem, 2).finished
    assert {each: signal.getsignal(each) for each in handlers} == handlers


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_ctrl_c_pressed_again_and_again_keeps_the_state(
    stage: int, tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    before = checkpoint_of(finished, stage - 1) if stage > 1 else None
    with pytest.raises(Interrupted, match=rf"in stage {stage}.*\n.*stage{stage}\.npz"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=before, progress=Happens(stage, press_often))
    assert kept(tmp_path / PORTRAIT.stem, stage).stage == stage
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("nextface.runs.run.plot_losses", 2),
        ("nextface.runs.run.compare", 2),
        ("nextface.runs.run.write_results", 3),
    ],
)
def test_ctrl_c_after_a_stage_names_its_checkpoint(
    place: str,
    stage: int,
    tiny_config: Config,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While its losses are drawn, its picture, and the results."""
    monkeypatch.setattr(place, lambda *arguments, **options: press())
    with pytest.raises(Interrupted, match=rf"--checkpoint .*stage{stage}\.npz"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(finished, stage - 1))
    assert kept(tmp_path / PORTRAIT.stem, stage).finished


def test_ctrl_c_while_a_checkpoint_is_written_waits_for_it(
    tiny_config: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nextface.person import checkpoint

    write = checkpoint.np.savez_compressed

    def interrupted(*arguments: object, **arrays: object) -> None:
        press_often()
        write(*arguments, **arrays)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint.np, "savez_compressed", interrupted)
    with pytest.raises(Interrupted, match=r"stage2\.npz"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(finished, 1))
    assert kept(tmp_path / PORTRAIT.stem, 2).finished


def test_too_little_memory_keeps_the_state_and_says_how_to_go_on(
    tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    progress = Happens(3, lambda: bytearray(1 << 62))
    with pytest.raises(TooLittleMemoryError, match=r"(?s)in stage 3.*textureResolution.*stage3\.npz") as caught:
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(finished, 2), progress=progress)
    assert caught.value.exit_code == 2
    assert not kept(tmp_path / PORTRAIT.stem, 3).finished


def test_an_unforeseen_error_keeps_the_state_and_says_how_to_go_on(
    tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    class Says(Happens):
        said: list[str] = []  # noqa: RUF012

        def warn(self, text: str) -> None:
            self.said.append(text)

    progress = Says(2, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(finished, 1), progress=progress)
    assert "--checkpoint" in progress.said[-1] and "stage2.npz" in progress.said[-1]
    assert not kept(tmp_path / PORTRAIT.stem, 2).finished


def test_a_killed_renderer_keeps_the_state_and_says_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    """redner's process dies in stage 2."""
    require_redner()
    import psutil

    def kill() -> None:
        for child in psutil.Process().children():
            if any("worker.py" in word for word in child.cmdline()):
                child.kill()

    config = Config(renderer="redner", lightTransfer=False, **{**TINY, "threads": 1, "iterStep2": 4})  # type: ignore[arg-type]
    with pytest.raises(RendererError, match=r"(?s)SIGKILL.*--checkpoint .*stage2\.npz"):
        reconstruct(
            PORTRAIT, tmp_path, config, checkpoint=checkpoint_of(finished, 1), progress=Happens(2, kill)
        )
    assert not kept(tmp_path / PORTRAIT.stem, 2).finished


def test_ctrl_c_between_photos_does_not_say_that_nothing_was_kept(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        with Image.open(PORTRAIT) as portrait:
            portrait.resize((400, 400)).save(photos / name)

    class PressesAfterTheFirst(Silent):
        def note(self, text: str) -> None:
            if text.startswith("1 of 2"):
                press()

    config = replace(tiny_config, iterStep1=2, iterStep2=1, iterStep3=1)
    with pytest.raises(Interrupted, match=r"1 of 2 photos are done"):
        reconstruct_folder(photos, tmp_path / "out", config, progress=PressesAfterTheFirst())
    content = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [photo["status"] for photo in content["photos"]] == ["done", "waiting"]


# The command line


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command on the portrait, in a process of its own."""
    words = command("reconstruct", "--input", PORTRAIT, "--renderer", "vertex", *arguments)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    seen = threading.Event()
    while not path.exists():
        assert process.poll() is None, process.communicate()
        seen.wait(0.02)


def test_a_terminated_command_prints_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    """By SIGTERM; what other signals do is tried above, in this process."""
    words = ["--output", tmp_path, "--checkpoint", checkpoint_of(finished, 1), *settings(ENDLESS)]
    words += ["--set", "debugFrequency=1"]
    with running(*words) as process:
        wait_for_file(tmp_path / PORTRAIT.stem / "debug" / "stage2_iteration0001.png", process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert str(checkpoint_of(tmp_path / PORTRAIT.stem, 2)) in errors.splitlines()[-1]
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_a_run_outlives_the_reader_of_its_words(finished: Path, tmp_path: Path) -> None:
    """`2>&1 | head -1`: it goes on to the end, and ends well."""
    words = [
        "--output",
        tmp_path,
        "--checkpoint",
        checkpoint_of(finished, 2),
        *settings({**TINY, "threads": 1}),
    ]
    with running(*words) as process:
        assert process.stderr is not None and process.stdout is not None
        process.stderr.readline()
        process.stderr.close()
        process.stdout.close()
        assert process.wait(120) == 0
    assert (tmp_path / PORTRAIT.stem / "metrics.json").exists()


def test_a_folder_outlives_the_reader_of_its_words(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"no")
    reading, writing = os.pipe()
    os.close(reading)
    arguments = command("reconstruct", "--input", tmp_path / "photos", "--output", tmp_path / "out")
    run = subprocess.run(arguments, stdout=writing, stderr=writing, env=environment(), timeout=120)
    os.close(writing)
    assert run.returncode == 3
    (photo,) = json.loads((tmp_path / "out" / "index.json").read_text())["photos"]
    assert photo["status"] == "failed" and "our fault" not in photo["error"]


def test_ctrl_c_while_the_program_starts_is_no_traceback(tmp_path: Path) -> None:
    """In the midst of the imports: the first of them presses it."""
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    paths = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    run = subprocess.run(
        command("--version"), capture_output=True, text=True, env=environment(PYTHONPATH=paths), timeout=60
    )
    assert_clear(run, 130, ["Interrupted"])
