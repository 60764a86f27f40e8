"""What the tests of the whole program share: the command line, small settings, and runs that are done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes of tests
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads would wait for those of other tests, spinning
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored there, and by every child

from nextface.config import Config

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
}

Completed = subprocess.CompletedProcess[str]
CommandLine = Callable[..., Completed]


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


@dataclass(frozen=True)
class PortraitRun:
    """A finished run of the command line on the bundled portrait."""

    backend: str
    process: Completed
    folder: Path  # with the results


@pytest.fixture(scope="session", params=["vertex", "mitsuba"])
def portrait_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PortraitRun:
    """The bundled portrait, small, through the command line: once with every backend."""
    output = tmp_path_factory.mktemp(f"portrait-{request.param}")
    arguments = ["reconstruct", "--input", PORTRAIT, "--output", output, "--renderer", request.param]
    extras = {"saveIntermediateStage": 1, "debugFrequency": 5, "threads": 1}
    run = nextface(*arguments, *settings(SMALL | extras))
    return PortraitRun(request.param, run, output / PORTRAIT.stem)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings for runs of about two seconds, without ray tracing."""
    return Config(renderer="vertex", threads=1, **TINY)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """The result folder of a tiny finished run on the bundled portrait. Tests only read it."""
    from nextface import reconstruct

    folder = reconstruct(PORTRAIT, tmp_path_factory.mktemp("finished"), tiny_config).folder
    assert folder is not None
    return folder
