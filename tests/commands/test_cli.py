"""The command line as a user meets it: a process with words in, text out and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PORTRAIT
from typer.testing import CliRunner

from nextface import __version__, cli
from nextface.commands import reconstruct
from nextface.commands.reconstruct import summary
from nextface.config import Config
from nextface.errors import DivergedError, Interrupted, PhotoError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "scipy", "mitsuba", "drjit", "cv2", "mediapipe", "matplotlib", "trimesh", "PIL")


def nextface(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nextface", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


def test_help_lists_every_promised_option() -> None:
    assert {"reconstruct", "demo", "doctor", "config", "setup"} <= set(nextface("--help").stdout.split())
    options = nextface("reconstruct", "--help").stdout.split()
    names = (
        "input output config renderer device set landmarks mask checkpoint face verbose workers sharedIdentity"
    )
    for option in [f"--{name}" for name in names.split(" ")] + [f"--skipStage{stage}" for stage in (1, 2, 3)]:
        assert option in options


def test_version() -> None:
    run = nextface("--version")
    assert (run.returncode, run.stdout.strip()) == (0, f"nextface {__version__}")


def test_config_prints_a_configuration(tmp_path: Path) -> None:
    run = nextface("config")
    assert run.returncode == 0
    assert run.stdout == Config().describe()
    file = tmp_path / "mine.ini"
    file.write_text(nextface("config", "--set", "bands=4", "--set", "seed=3").stdout, encoding="utf-8")
    assert Config.from_file(file) == Config(bands=4, seed=3)
    assert nextface("config", "--config", str(file)).stdout == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconstruct", "--inptu", "a.jpg"], ["--inptu", "--input"]),
        (["reconstruct"], ["Which photo", "reconstruct PHOTO"]),
        (["reconstruct", "a.jpg", "b.jpg"], ["One photo or folder", "a.jpg, b.jpg", "--input DIR"]),
        (["reconstruct", "a.jpg", "--input", "b.jpg"], ["One photo or folder", "a.jpg, b.jpg"]),
        (["reconstruct", ""], ["PHOTO", "empty"]),
        (["reconstruct", "--input", ""], ["--input", "empty"]),
        (["reconstruct", "--input", "a.jpg", "--output", " "], ["--output", "empty"]),
        (["reconstruct", "--input", "a.jpg", "--mask", ""], ["--mask", "empty"]),
        (["reconstruct", "--input", "a.jpg", "--checkpoint", ""], ["--checkpoint", "empty"]),
        (["reconstruct", "missing.jpg"], ["There is no photo missing.jpg"]),
        (["reconstruct", "--input", "a.jpg", "--face", "-1"], ["--face"]),
        (["reconstruct", "--input", "a.jpg", "--renderer", "mitsubi"], ["--renderer", "Did you mean mitsuba?"]),
        (["reconstruct", "--input", "a.jpg", "--device", "tpu"], ["--device", "auto, cpu, cuda"]),
        (["reconstruct", "--input", "a.jpg", "--set", "bandz=3"], ["--set", "Did you mean bands?"]),
        (["reconstruct", "--input", "a.jpg", "--set", "bands"], ["--set", "key=value"]),
        (["reconstruct", "--input", "a.jpg", "--config", "missing.ini"], ["missing.ini", "cannot be read"]),
        (["reconstruct", "--input", str(PORTRAIT), "--workers", "2"], ["--workers", "folder"]),
        (["reconstruct", "--input", str(PORTRAIT), "--sharedIdentity"], ["--sharedIdentity", "folder"]),
        (["reconstruct", "--input", "tests", "--face", "1"], ["--face", "one photo"]),
        (["reconstruct", "--input", "tests", "--checkpoint", "c.npz"], ["--checkpoint", "--sharedIdentity"]),
        (["reconstruct", "--input", "tests", "--sharedIdentity", "--workers", "2"], ["--workers", "together"]),
        (["reconstruct", "--input", "tests"], ["no photo", "tests"]),
        (["demo", "--set", "camFocalLength=500"], ["camFocalLength", "focalLength35mm", "50"]),
        (["bogus"], ["bogus"]),
    ],
)
def test_mistakes_exit_2_without_a_traceback(arguments: list[str], words: list[str]) -> None:
    run = CliRunner().invoke(cli.app, arguments)
    assert run.exit_code == 2
    assert "Traceback" not in run.output
    for word in words:
        assert word in run.stderr


def test_a_mistake_ends_the_process_with_2() -> None:
    run = nextface("reconstruct", "--input", "a.jpg", "--set", "bandz=3")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("Error: --set: unknown key 'bandz'. Did you mean bands?")


def test_starting_imports_nothing_heavy() -> None:
    code = (
        f"import sys, nextface, nextface.cli, nextface.config; print([m for m in {HEAVY} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert run.stdout.strip() == "[]"


def test_python_names_are_lazy() -> None:
    import nextface as package

    assert package.Config is Config
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PhotoError("a.jpg: there is no such file."), 2, ["Error: a.jpg"]),
        (DivergedError("The loss became NaN."), 1, ["Error: The loss became NaN."]),
        (Interrupted("Go on with: nextface ..."), 130, ["Go on with"]),
        (KeyboardInterrupt(), 130, ["Interrupted"]),
        (ZeroDivisionError("division by zero"), 1, ["our fault", "ZeroDivisionError", ".log"]),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every kind of failure of a run, as the exit code and the words for it."""

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(reconstruct, "_run", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = CliRunner().invoke(cli.app, ["reconstruct", "--input", "a.jpg"])
    assert result.exit_code == code
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output
    logs = list(tmp_path.glob("nextface-*.log"))
    assert len(logs) == (1 if "our fault" in words else 0)
    assert all("Traceback" in log.read_text() for log in logs)


def test_verbose_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(reconstruct, "_run", fail)
    result = CliRunner().invoke(cli.app, ["demo", "--verbose"])
    assert result.exit_code == 1
    assert "Traceback" in result.output


def test_options_reach_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []
    monkeypatch.setattr(reconstruct, "_run", lambda *arguments, **options: calls.append((arguments, options)))
    ini = tmp_path / "some.ini"
    ini.write_text("bands = 3\nseed = 5\n")
    line = f"reconstruct --input a/b.jpg --output out --config {ini} --renderer vertex --device cpu --verbose"
    line += " --set bands=4 --set maxBounces=2 --landmarks l.json --mask m.png --checkpoint c.npz --face 1"
    result = CliRunner().invoke(cli.app, [*line.split(), "--skipStage1", "--skipStage3"])
    assert result.exit_code == 0, result.output
    ((photo, output, config), options) = calls[0]
    assert (photo, output) == (Path("a/b.jpg"), Path("out"))
    assert config == Config(bands=4, seed=5, maxBounces=2, renderer="vertex", device="cpu", verbose=True)
    assert options == {
        "landmarks": Path("l.json"),
        "mask": Path("m.png"),
        "checkpoint": Path("c.npz"),
        "skip_stages": frozenset({1, 3}),
        "face": 1,
    }


def test_the_photo_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(reconstruct, "_run", lambda *arguments, **options: calls.append(arguments))
    monkeypatch.setattr(reconstruct, "_run_folder", lambda *arguments, **options: calls.append(arguments))
    for words in (
        ["a/b.jpg"],
        ["--input", "a/b.jpg"],
        ["--face", "0", "a/b.jpg"],
        ["--", "a/b.jpg"],
        ["tests"],
    ):
        result = CliRunner().invoke(cli.app, ["reconstruct", *words])
        assert result.exit_code == 0, result.output
    assert [str(source) for source, *_ in calls] == ["a/b.jpg"] * 4 + ["tests"]


def test_demo_uses_the_bundled_portrait(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(*arguments: Any) -> Path:
        calls.append(arguments)
        return Path("output/astronaut")

    monkeypatch.setattr(reconstruct, "_run", run)
    result = CliRunner().invoke(cli.app, ["demo"])
    assert result.exit_code == 0
    assert "output/astronaut/report.html" in result.output.splitlines()[-1]
    photo, output, config = calls[0]
    assert photo.is_file()
    assert output / photo.stem == Path("output/astronaut")
    assert config == Config()


def test_summary_fits_a_screen_and_lists_what_is_there(tmp_path: Path) -> None:
    written = ("render_0.png", "mesh0.obj", "metrics.json", "checkpoints/stage1.npz")
    text = summary(tmp_path, {"seconds": 61.4, "peakMemoryMB": 900.2, "psnr": 31.25}, written)
    assert len(text.splitlines()) < 20
    for word in ("61 s", "900 MB", "31.2 dB", str(tmp_path), "render_0.png", "mesh0.obj", "checkpoints"):
        assert word in text
    assert "envMap" not in text
    assert "dB" not in summary(tmp_path, {"seconds": 1.0, "peakMemoryMB": 1.0, "psnr": None}, written)
