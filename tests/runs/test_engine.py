"""reconstruct() from Python: what it returns, what it resumes from, and what is left when it is stopped."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, TINY, command, environment, settings
from ctrl_c import PressesCtrlC
from PIL import Image
from typer.testing import CliRunner

from nextface import Config, cli, reconstruct, reconstruct_folder, reconstruct_shared
from nextface.errors import CheckpointError, ConfigError, DivergedError, Interrupted
from nextface.fitting.refinement import refine
from nextface.fitting.statistical import adam as statistical
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.scene.geometry import pose_matrix, rotation_matrix
from nextface.system.progress import Silent, Stage

ALL_STAGES = frozenset({1, 2, 3})


def checkpoint_of(folder: Path, stage: int) -> Path:
    return folder / "checkpoints" / f"stage{stage}.npz"


def load(path: Path) -> Checkpoint:
    return Checkpoint.load(path, create_model("open"))


def assert_same(one: Parameters, other: Parameters, but: tuple[str, ...] = ()) -> None:
    for item in fields(Parameters):
        if item.name not in but:
            assert torch.equal(getattr(one, item.name), getattr(other, item.name)), item.name


class Diary(Silent):
    """Keeps what a run reports."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.losses: dict[str, list[float]] = {}

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        self._current = self.losses.setdefault(name, [])
        yield self

    def advance(self, loss: float) -> None:
        self._current.append(loss)

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note


# What comes out


def test_it_returns_what_it_writes(tiny_config: Config, tmp_path: Path) -> None:
    diary = Diary()
    result = reconstruct(str(PORTRAIT), str(tmp_path), tiny_config, progress=diary)
    assert result.folder == tmp_path / PORTRAIT.stem
    assert result.metrics == json.loads((result.folder / "metrics.json").read_text())
    described = json.loads((result.folder / "scene_0.json").read_text())
    turn = rotation_matrix(torch.tensor(described["rotation"]))
    assert torch.allclose(turn, pose_matrix(result.parameters.rotation[0]), atol=1e-6)
    assert described["model"]["identity"] == result.parameters.identity[0].tolist()
    assert result.parameters.is_finite()
    assert result.material is not None and result.material.diffuse.shape == (1, 256, 256, 3)
    names = ("1 landmarks", "2 statistical model", "3 reflectance maps")
    assert tuple(diary.losses) == names
    for number, name in enumerate(names, 1):
        losses = diary.losses[name]
        assert len(losses) == result.metrics["iterations"][f"stage{number}"]
        assert losses[-1] == result.metrics["losses"][f"stage{number}"]


@pytest.mark.parametrize(("backend", "before"), [("vertex", 0), ("mitsuba", 1)])
def test_a_deterministic_run_repeats_to_the_last_bit(
    backend: str, before: int, finished: Path, tmp_path: Path
) -> None:
    """With rays from the end of stage 1, in which no backend takes part."""
    config = Config(renderer=backend, deterministic=True, **TINY)  # type: ignore[arg-type]
    start = checkpoint_of(finished, before) if before else None
    one, other = (reconstruct(PORTRAIT, tmp_path / name, config, checkpoint=start) for name in ("one", "other"))
    assert_same(one.parameters, other.parameters)
    assert one.folder is not None and other.folder is not None
    for name in ("diffuseMap_0.png", "specularMap_0.png", "reconstruction_0.png", "mesh0.obj", "envMap_0.exr"):
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes(), name


def test_another_seed_draws_other_noise(tmp_path: Path, finished: Path) -> None:
    config = Config(renderer="mitsuba", threads=1, **TINY)  # type: ignore[arg-type]
    results = [
        reconstruct(
            PORTRAIT, tmp_path, replace(config, seed=seed), checkpoint=checkpoint_of(finished, 2),
            skip_stages=ALL_STAGES,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    psnr = [result.metrics["psnr"] for result in results]
    assert psnr[0] != psnr[1]
    assert psnr[0] == pytest.approx(psnr[1], abs=1.0)


def test_it_runs_beside_the_main_thread(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    """Signals can only be handled in the main thread; programs call from others."""
    results: list[Reconstruction] = []

    def work() -> None:
        results.append(
            reconstruct(
                PORTRAIT,
                tmp_path,
                tiny_config,
                checkpoint=checkpoint_of(finished, 1),
                skip_stages=frozenset({3}),
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(120)
    assert results and results[0].metrics["iterations"] == {"stage2": TINY["iterStep2"]}


def test_the_second_run_replaces_the_first_and_leaves_no_temporary_files(
    tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / PORTRAIT.stem)
    names = {path.relative_to(finished) for path in finished.rglob("*")}
    before = (tmp_path / PORTRAIT.stem / "envMap_0.exr").read_bytes()
    reconstruct(PORTRAIT, tmp_path, replace(tiny_config, bands=3))
    after = {path.relative_to(tmp_path / PORTRAIT.stem) for path in (tmp_path / PORTRAIT.stem).rglob("*")}
    assert after == names
    assert (tmp_path / PORTRAIT.stem / "envMap_0.exr").read_bytes() != before


# The user's own landmarks and mask


def test_a_mask_says_which_pixels_count(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    """The left half of the face is white in a mask of the photo's size: no other pixel is in the loss."""
    description = json.loads((finished / "scene_0.json").read_text())
    skin = np.asarray(Image.open(finished / "mask_0.png")) > 0
    middle = np.flatnonzero(skin.any(0)).mean()
    scale, shift = description["photoToImage"][0][0], description["photoToImage"][0][2]
    with Image.open(PORTRAIT) as photo:
        painted = np.zeros((photo.height, photo.width), np.uint8)
    painted[:, : round((middle - shift) / scale)] = 255
    Image.fromarray(painted).save(tmp_path / "mask.png")
    result = reconstruct(
        PORTRAIT, tmp_path, tiny_config, mask=str(tmp_path / "mask.png"), skip_stages=frozenset({2, 3})
    )
    assert result.folder is not None
    used = np.asarray(Image.open(result.folder / "mask_0.png")) > 0
    assert used.any()
    assert not used[:, int(middle) + 2 :].any()


def test_given_landmarks_are_used_instead_of_detected_ones(
    tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    from nextface.landmarks.detection import detect
    from nextface.photos.photo import load_photo

    points = detect(load_photo(PORTRAIT)).landmarks.points
    path = tmp_path / "points.json"
    results = []
    for shift in (0.0, 15.0):
        path.write_text(
            json.dumps({"detector": "mediapipe", "points": (points + np.array([shift, 0])).tolist()})
        )
        results.append(
            reconstruct(PORTRAIT, tmp_path, tiny_config, landmarks=str(path), skip_stages=frozenset({2, 3}))
        )
    crops = [result.frames[0].photo_to_image[:, 2] for result in results]
    detected = json.loads((finished / "scene_0.json").read_text())["photoToImage"]
    assert np.allclose(results[0].frames[0].photo_to_image, detected)
    moved = (crops[1] - crops[0]) / results[0].frames[0].photo_to_image[0, 0]
    assert np.allclose(moved, [-15, 0], atol=1.5)


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in (reconstruct, reconstruct_folder, reconstruct_shared):
        with pytest.raises(ConfigError, match="is empty"):
            run("")
        with pytest.raises(ConfigError, match="output is empty"):
            run(PORTRAIT, "")
        with pytest.raises(ConfigError, match="landmarks is empty"):
            run(PORTRAIT, landmarks="")
        with pytest.raises(ConfigError, match="must be a path"):
            run(PORTRAIT, mask=3)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# Checkpoints


def test_a_finished_stage_is_not_run_again(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    start = checkpoint_of(finished, 2)
    diary = Diary()
    result = reconstruct(str(PORTRAIT), str(tmp_path), tiny_config, checkpoint=str(start), progress=diary)
    assert list(diary.losses) == ["3 reflectance maps"]
    assert_same(result.parameters, load(start).parameters, but=("light",))
    assert any(str(start) in text and "stages up to 2" in text for text in diary.said)
    assert not checkpoint_of(tmp_path / PORTRAIT.stem, 2).exists()
    again = json.loads((finished / "metrics.json").read_text())
    assert result.metrics["psnr"] == pytest.approx(again["psnr"], abs=0.2)


def test_a_checkpoint_goes_on_with_another_backend(finished: Path, tmp_path: Path) -> None:
    config = Config(renderer="mitsuba", threads=1, **TINY)  # type: ignore[arg-type]
    result = reconstruct(PORTRAIT, tmp_path, config, checkpoint=checkpoint_of(finished, 2))
    assert result.metrics["backend"] == "mitsuba"
    assert set(result.metrics["iterations"]) == {"stage3"}
    assert_same(result.parameters, load(checkpoint_of(finished, 2)).parameters, but=("light",))
    assert result.metrics["psnr"] > 12  # the few steps of stage 2 begin with those of albedo alone


@pytest.mark.parametrize("stage", [2, 3])
def test_a_checkpoint_goes_on_with_another_map_size(
    tiny_config: Config, finished: Path, tmp_path: Path, stage: int
) -> None:
    diary = Diary()
    config = replace(tiny_config, textureResolution=512)
    result = reconstruct(PORTRAIT, tmp_path, config, checkpoint=checkpoint_of(finished, stage), progress=diary)
    assert result.folder is not None
    maps = {path.name: np.asarray(Image.open(path)) for path in result.folder.glob("*Map_0.png")}
    maps["visibility_0.png"] = np.asarray(Image.open(result.folder / "visibility_0.png"))
    del maps["envMap_0.png"]
    assert len(maps) == 4
    assert all(pixels.shape[:2] == (512, 512) for pixels in maps.values())
    small = np.asarray(Image.open(finished / "diffuseMap_0.png")).astype(int)
    halved = maps["diffuseMap_0.png"].reshape(256, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(halved - small).mean() < 3
    if stage == 3:
        assert not diary.losses
        assert any("256" in text and "512" in text for text in diary.said), diary.said


def test_a_checkpoint_goes_on_at_another_photo_size(
    tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    """The camera is the same one, in other pixels; the render at twice the size matches the photo as well."""
    diary = Diary()
    config = replace(tiny_config, maxResolution=128)
    result = reconstruct(PORTRAIT, tmp_path, config, checkpoint=checkpoint_of(finished, 3), progress=diary)
    before = json.loads((finished / "scene_0.json").read_text())
    scale = result.frames[0].width / before["width"]
    assert scale == pytest.approx(2, rel=0.02)
    intrinsics = result.camera().intrinsics[0].numpy()
    old = np.array(before["K"])
    assert intrinsics[0, 0] == pytest.approx(
        old[0, 0] * result.frames[0].photo_to_image[0, 0] / before["photoToImage"][0][0]
    )
    point = np.array([10.0, 20.0, 500.0])
    in_photo = []
    for matrix, to_image in (
        (old, np.array(before["photoToImage"])),
        (intrinsics, result.frames[0].photo_to_image),
    ):
        x, y, w = matrix @ point
        in_photo.append((np.array([x / w, y / w]) - to_image[:, 2]) / to_image[0, 0])
    assert np.allclose(*in_photo, atol=0.1)
    assert any("focal" in text for text in diary.said)
    psnr = json.loads((finished / "metrics.json").read_text())["psnr"]
    assert result.metrics["psnr"] > psnr - 3


def test_a_checkpoint_goes_on_with_fewer_bands(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    diary = Diary()
    start = checkpoint_of(finished, 2)
    result = reconstruct(
        PORTRAIT,
        tmp_path,
        replace(tiny_config, bands=3),
        checkpoint=start,
        progress=diary,
        skip_stages=ALL_STAGES,
    )
    assert any("bands" in text for text in diary.said)
    assert result.light_coefficients().shape == (1, 9, 3)
    assert_same(result.parameters, load(start).parameters)
    assert (result.environment().radiance >= -1e-6).all()


def test_stages_can_be_skipped(tiny_config: Config, tmp_path: Path) -> None:
    """All of them: the mean face before the camera under even light, and every file."""
    result = reconstruct(PORTRAIT, tmp_path, tiny_config, skip_stages=ALL_STAGES)
    assert not result.parameters.identity.any()
    assert result.metrics["iterations"] == {}
    assert result.folder is not None
    assert (result.folder / "mesh0.obj").is_file() and (result.folder / "diffuseMap_0.png").is_file()


def damage_missing(path: Path) -> None:
    path.unlink()


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damage_text(path: Path) -> None:
    path.write_text("This is no checkpoint.")


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for start in range(500, len(content) - 2000, 1000):
        content[start : start + 200] = bytes(byte ^ 0x5A for byte in content[start : start + 200])
    path.write_bytes(bytes(content))


def damage_pickle(path: Path) -> None:
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "identity": np.array([{"a": 1}], dtype=object)})


def damage_single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def damage_incomplete(path: Path) -> None:
    arrays = dict(np.load(path))
    del arrays["light"]
    np.savez(path, **arrays)


def damage_version(path: Path) -> None:
    np.savez(path, **{**np.load(path), "version": 999})


def damage_shape(path: Path) -> None:
    np.savez(path, **{**np.load(path), "expression": np.zeros((1, 3), np.float32)})


def damage_light(path: Path) -> None:
    np.savez(path, **{**np.load(path), "light": np.zeros((1, 7, 3), np.float32)})


def damage_numbers(path: Path) -> None:
    np.savez(path, **{**np.load(path), "rotation": np.full((1, 3), np.nan, np.float32)})


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("damage_"))
def test_a_damaged_checkpoint_is_an_error_that_names_it(damage, tiny_config, finished, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "stage2.npz"
    shutil.copy(checkpoint_of(finished, 2), path)
    damage(path)
    with pytest.raises(CheckpointError, match=r"stage2\.npz"):
        reconstruct(PORTRAIT, tmp_path / "out", tiny_config, checkpoint=path, skip_stages=ALL_STAGES)
    assert not (tmp_path / "out" / PORTRAIT.stem / "metrics.json").exists()


def test_a_pickle_in_a_checkpoint_is_not_run(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    trace = tmp_path / "was run"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (trace,))  # type: ignore[return-value]

    path = tmp_path / "stage2.npz"
    np.savez(path, **{**np.load(checkpoint_of(finished, 2)), "model": np.array(Bomb(), dtype=object)})
    with pytest.raises(CheckpointError):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=path)
    assert not trace.exists()
    np.load(path, allow_pickle=True)["model"]
    assert trace.exists(), "the pickle would have worked"


def test_a_checkpoint_of_another_photo_is_an_error(tiny_config: Config, finished: Path, tmp_path: Path) -> None:
    with Image.open(PORTRAIT) as photo:
        photo.crop((60, 0, 460, 400)).save(tmp_path / "other.png")
    with pytest.raises(CheckpointError, match="another photo"):
        reconstruct(tmp_path / "other.png", tmp_path, tiny_config, checkpoint=checkpoint_of(finished, 2))


# Divergence


STEPS = 4  # of stages that diverge
FIRST_MOVE = round(statistical.LIGHT_FIRST * STEPS)  # iteration of stage 2 in which the pose begins to move


@pytest.mark.parametrize("stage", [2, 3])
def test_nan_stops_a_run_and_keeps_the_last_good_state(
    stage: int, tiny_config: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infinitely long steps make a loss or a parameter infinite in the middle of a stage."""
    if stage == 2:
        monkeypatch.setitem(statistical.LEARNING_RATES, "rotation", float("inf"))
    else:
        monkeypatch.setitem(refine.LEARNING_RATES, "diffuse", float("inf"))
    config = replace(tiny_config, iterStep2=STEPS, iterStep3=STEPS, lightTransfer=False)
    before = checkpoint_of(finished, stage - 1)
    with pytest.raises(DivergedError, match=f"stage{stage}.npz") as caught:
        reconstruct(PORTRAIT, tmp_path, config, checkpoint=before)
    assert caught.value.exit_code == 1
    kept = load(checkpoint_of(tmp_path / PORTRAIT.stem, stage))
    assert (kept.stage, kept.finished) == (stage, False)
    assert kept.parameters.is_finite()
    if stage == 2:
        assert f"iteration {FIRST_MOVE} " in str(caught.value)
        start = load(before).parameters
        assert torch.equal(kept.parameters.rotation, start.rotation)
        assert not torch.equal(kept.parameters.light, start.light), "earlier iterations are not lost"
    else:
        assert kept.material is None or torch.isfinite(kept.material.diffuse).all()
    assert not (tmp_path / PORTRAIT.stem / "metrics.json").exists()
    monkeypatch.undo()
    result = reconstruct(
        PORTRAIT, tmp_path, tiny_config, checkpoint=checkpoint_of(tmp_path / PORTRAIT.stem, stage)
    )
    assert set(result.metrics["iterations"]) == {f"stage{number}" for number in range(stage, 4)}


def test_a_loss_that_is_not_finite_stops_gauss_newton(
    tiny_config: Config, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextface.fitting.statistical.photo_problem.PHOTO_SCALE", float("inf"))
    before = checkpoint_of(finished, 1)
    with pytest.raises(DivergedError, match="iteration 0 of stage 2"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=before)
    kept = load(checkpoint_of(tmp_path / PORTRAIT.stem, 2))
    assert not kept.finished and kept.parameters.is_finite()


def test_the_command_line_exits_1_on_nan(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(statistical.LEARNING_RATES, "light", float("inf"))
    arguments = ["reconstruct", "--input", str(PORTRAIT), "--output", str(tmp_path), "--renderer", "vertex"]
    arguments += ["--checkpoint", str(checkpoint_of(finished, 1))]
    arguments += settings({**TINY, "threads": 1, "lightTransfer": False})
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1, result.output
    assert "stage2.npz" in result.output
    assert "Traceback" not in result.output and "our fault" not in result.output
    assert checkpoint_of(tmp_path / PORTRAIT.stem, 2).is_file()


# Ctrl-C


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_interrupt_finishes_the_iteration_and_keeps_it(
    stage: int, tiny_config: Config, finished: Path, tmp_path: Path
) -> None:
    """In every stage; afterwards Ctrl-C means what it meant before."""
    handler = signal.getsignal(signal.SIGINT)
    before = checkpoint_of(finished, stage - 1) if stage > 1 else None
    with pytest.raises(Interrupted) as caught:
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=before, progress=PressesCtrlC(str(stage)))
    assert signal.getsignal(signal.SIGINT) is handler
    assert caught.value.exit_code == 130
    path = checkpoint_of(tmp_path / PORTRAIT.stem, stage)
    kept = load(path)
    assert (kept.stage, kept.finished) == (stage, stage == 1), "stage 1 is over before it can be stopped"
    words = shlex.split(str(caught.value).splitlines()[-1])
    assert words[words.index("--checkpoint") + 1] == str(path)
    if stage == 2:
        assert not torch.equal(kept.parameters.light, load(before).parameters.light)  # type: ignore[arg-type]
    assert not (tmp_path / PORTRAIT.stem / "metrics.json").exists()


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read a process's standard error until a line contains a text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


def test_ctrl_c_on_the_command_line_prints_a_command_that_goes_on(finished: Path, tmp_path: Path) -> None:
    """SIGINT in stage 2 of a process; what is printed is run but for skips, its arguments in this process."""
    points = tmp_path / "my points.json"
    write_detected_landmarks(points)
    arguments = [
        "reconstruct",
        "--input",
        PORTRAIT,
        "--output",
        tmp_path / "my results",
        "--renderer",
        "vertex",
    ]
    arguments += ["--landmarks", points, *settings({**TINY, "threads": 1, "iterStep2": 100_000})]
    process = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    try:
        wait_for(process, "2 statistical model")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in output + errors
    folder = tmp_path / "my results" / PORTRAIT.stem
    kept = load(checkpoint_of(folder, 2))
    assert (kept.stage, kept.finished) == (2, False)

    printed = errors.strip().splitlines()[-1].strip()
    words = shlex.split(printed)
    assert str(points) in words and "iterStep2=100000" in words and "renderer=vertex" in words
    program, rest = words[: words.index("reconstruct")], words[words.index("reconstruct") :]
    assert subprocess.run([*program, "--version"], env=environment(), cwd=tmp_path, timeout=60).returncode == 0
    resumed = CliRunner().invoke(cli.app, [*rest, "--skipStage2", "--skipStage3"])
    assert resumed.exit_code == 0, resumed.output
    assert "Written to" in resumed.output and str(folder) in resumed.output
    assert "1 landmarks" not in resumed.output, "stage 1 is not run again"
    described = json.loads((folder / "scene_0.json").read_text())
    turn = rotation_matrix(torch.tensor(described["rotation"]))
    assert torch.allclose(turn, pose_matrix(kept.parameters.rotation[0]), atol=1e-6)


def write_detected_landmarks(path: Path) -> None:
    from nextface.landmarks.detection import detect
    from nextface.photos.photo import load_photo

    points = detect(load_photo(PORTRAIT)).landmarks.points
    path.write_text(json.dumps({"detector": "mediapipe", "points": points.tolist()}))
