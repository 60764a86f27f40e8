"""What the tests of the whole program share: the command line, small settings, and runs that are done once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes of tests
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads would wait for those of other tests, spinning
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored there, and by every child

from nextface.config import Config

if TYPE_CHECKING:
    from nextface.export.saved.result import SavedResult

ROOT = Path(__file__).parent.parent
HELPERS = ROOT / "tests" / "helpers"  # on the path of every test
PORTRAIT = ROOT / "nextface" / "data" / "astronaut.png"
SMALL = {"maxResolution": 96, "iterStep2": 6, "iterStep3": 6, "rtSamples": 8, "textureResolution": 256}
TINY = {
    "maxResolution": 64,
    "iterStep1": 12,
    "iterStep2": 2,
    "iterStep3": 2,
    "rtSamples": 4,
    "textureResolution": 256,
    "report": False,
}

LONGEST_FILES = (  # from half a minute on; those that share a run lie apart
    "runs/test_engine.py",
    "benchmarks/test_fidelity_subset.py",
    "runs/test_recovery.py",
    "runs/test_endings.py",
    "benchmarks/test_speed_benchmark.py",
    "runs/test_shared_identity.py",
    "benchmarks/test_known_heads.py",
    "models/test_completion.py",
    "commands/test_bad_input.py",
    "models/test_other_model.py",
    "fitting/test_gauss_newton.py",
    "commands/test_cli_end_to_end.py",
    "fitting/test_delighting.py",
    "runs/test_track.py",
    "fitting/test_transfer.py",
    "runs/test_many.py",
    "fitting/test_sharing.py",
)

Completed = subprocess.CompletedProcess[str]
CommandLine = Callable[..., Completed]


@pytest.hookimpl(trylast=True)  # after pytest's own order, which files keep among themselves
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no process of tests is left alone with one at the end."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


def command(*arguments: str | Path) -> list[str]:
    """The `nextface` command with arguments, as this interpreter runs it."""
    return [sys.executable, "-m", "nextface", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """Environment variables with which a process finds this checkout first."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}


def settings(values: dict[str, int]) -> list[str]:
    """Settings as words of a command line."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def nextface(
    *arguments: str | Path, folder: Path | None = None, timeout: float = 300, **variables: str
) -> Completed:
    """Run the `nextface` command in a process of its own.

    Parameters
    ----------
    folder: where it runs.
    variables: environment variables to set.
    """
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
    )


def assert_clear(run: Completed, code: int, words: Sequence[str] = ()) -> None:
    """A run ended with an exit code and with words for its user, not with a traceback."""
    said = run.stdout + run.stderr
    assert run.returncode == code, said
    assert "Traceback" not in said, said
    for word in words:
        assert word in said, f"{word!r} is not in: {said}"


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], dict[str, object]]
) -> tuple[Path, dict[str, object]]:
    """A new folder that is filled once for all processes of tests, and what was told of it, as JSON holds it.

    Parameters
    ----------
    make: fills the folder; called in the first process that asks, while others that ask wait.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, told = base / name, base / f"{name}.json"
    with FileLock(base / f"{name}.lock"):
        if not told.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed in it
            folder.mkdir()
            told.write_text(json.dumps(make(folder)))
    return folder, json.loads(told.read_text())


@dataclass(frozen=True)
class PortraitRun:
    """A finished run of the command line on the bundled portrait."""

    backend: str
    process: Completed
    folder: Path  # with the results


@pytest.fixture(scope="session", params=["vertex", "mitsuba"])
def portrait_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PortraitRun:
    """The bundled portrait, small, through the command line: once with every backend."""

    def make(output: Path) -> dict[str, object]:
        arguments = ["reconstruct", "--input", PORTRAIT, "--output", output, "--renderer", request.param]
        extras = {"saveIntermediateStage": 1, "debugFrequency": 5, "threads": 1}
        run = nextface(*arguments, *settings(SMALL | extras))
        return {"args": run.args, "returncode": run.returncode, "stdout": run.stdout, "stderr": run.stderr}

    output, told = made_once(tmp_path_factory, f"portrait-{request.param}", make)
    return PortraitRun(request.param, Completed(**told), output / PORTRAIT.stem)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings for runs of about two seconds, without ray tracing."""
    return Config(renderer="vertex", threads=1, **TINY)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """The result folder of a tiny finished run on the bundled portrait. Tests only read it."""
    from nextface import reconstruct

    def make(output: Path) -> dict[str, object]:
        reconstruct(PORTRAIT, output, tiny_config)
        return {}

    return made_once(tmp_path_factory, "finished", make)[0] / PORTRAIT.stem


@pytest.fixture(scope="session")
def result_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder of two photos of one person, written without a run. Tests only read it."""
    from made_result import make_result

    def make(folder: Path) -> dict[str, object]:
        make_result(folder, photos=2)
        return {}

    return made_once(tmp_path_factory, "made-result", make)[0]


@pytest.fixture(scope="session")
def result(result_folder: Path) -> SavedResult:
    """What is in `result_folder`."""
    from nextface.export.saved.result import load_result

    return load_result(result_folder)
