"""Where redner lives: an old Python, and a folder with redner and the NumPy that it goes with."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from nextface.errors import MissingPartError
from nextface.system.atomic import replacing
from nextface.system.paths import cache_folder
from nextface.system.python import command, module, pip_install

PACKAGES = ("numpy==1.24.4", "redner==0.4.28")
PYTHON = (3, 8)  # the newest that redner has a build for
VARIABLE = "NEXTFACE_REDNER_PYTHON"
COMMAND = command("setup", "redner")
INSTALL_SECONDS = 1800
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
BUILDING = "building-redner-"  # what names of unfinished folders begin with

_INTRODUCE = "import platform, sys; print(*sys.version_info[:2], platform.machine(), sys.executable, sep='|')"


@dataclass(frozen=True)
class RednerInstallation:
    """What redner's process is started with."""

    python: Path
    packages: Path  # the folder to put on its path

    @property
    def command(self) -> list[str]:
        """The interpreter and its options: without the user's own packages and variables."""
        return [str(self.python), "-I"]


def find_environment(python: str = "auto") -> RednerInstallation:
    """The environment that `set_up` made.

    Parameters
    ----------
    python: the Python 3.8 to use with its packages; "auto" for the one that it was set up with.

    Raises
    ------
    MissingPartError: where there is none, or its Python is gone.
    """
    _check_machine()
    try:
        recorded = Path(json.loads((folder() / "environment.json").read_text())["python"])
    except (OSError, ValueError, KeyError, TypeError):
        raise MissingPartError(f"renderer = redner: redner is not set up. Run: {COMMAND}") from None
    if python != "auto":
        return RednerInstallation(_chosen(python, "rednerPython"), folder() / "packages")
    if not os.access(recorded, os.X_OK):
        raise MissingPartError(
            f"renderer = redner: the Python that redner was set up with is gone ({recorded}). Run: {COMMAND}"
        )
    return RednerInstallation(recorded, folder() / "packages")


def set_up(
    python: str, try_out: Callable[[RednerInstallation], None], say: Callable[[str], None]
) -> tuple[RednerInstallation, bool]:
    """Make redner's environment, unless a working one is there.

    It is built beside its place and renamed when it has been tried out, under a lock: an interrupted run leaves
    nothing that counts, and two at a time do not meet.

    Parameters
    ----------
    python: a Python 3.8, or "auto" to look for one.
    try_out: draws something with an environment, and raises a `NextFaceError` where it does not work.
    say: tells the user what goes on.

    Returns
    -------
    The environment, and whether it is new.

    Raises
    ------
    MissingPartError: when there is no Python 3.8, or no way to install the packages.
    """
    _check_machine()
    with _lock():
        try:
            environment = find_environment(python)
            try_out(environment)
            _record(environment.python, folder())
            return environment, False
        except MissingPartError:
            pass
        except Exception as error:
            say(f"The present environment does not work and is made anew: {error}")
        for left_over in folder().parent.glob(f"{BUILDING}*"):  # by a run that was interrupted
            shutil.rmtree(left_over, ignore_errors=True)
        interpreter = _find_python(python, say)
        say(f"Python: {interpreter}")
        with tempfile.TemporaryDirectory(
            prefix=BUILDING, dir=folder().parent, ignore_cleanup_errors=True
        ) as name:
            building = Path(name) / "environment"
            say(f"Installing {' and '.join(PACKAGES)} (45 MB to fetch, 130 MB on disk).")
            if NVIDIA_DRIVER.exists():
                say("redner will draw on the CPU: its build for GPUs is for cards of 2018 and older.")
            _install(interpreter, building / "packages")
            _record(interpreter, building)
            try_out(RednerInstallation(interpreter, building / "packages"))
            shutil.rmtree(folder(), ignore_errors=True)
            building.rename(folder())
    return RednerInstallation(interpreter, folder() / "packages"), True


def folder() -> Path:
    """Where the environment is, in the user's cache; another one for other versions."""
    key = "|".join([*PACKAGES, platform.machine()])
    return cache_folder() / f"redner-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _record(interpreter: Path, place: Path) -> None:
    with replacing(place / "environment.json") as path:
        path.write_text(json.dumps({"python": str(interpreter)}))


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise MissingPartError(
            f"renderer = redner: there is no build of redner for {platform.system()} {platform.machine()}, "
            "only for Linux on x86-64. Use mitsuba or vertex."
        )


@contextmanager
def _lock() -> Iterator[None]:
    """Hold the set-up's lock; the kernel takes it back from a process that dies."""
    parent = folder().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        file = (parent / "redner.lock").open("w")
    except OSError as error:
        raise MissingPartError(
            f"redner cannot be set up: {parent} cannot be written ({error.strerror}). "
            "Set XDG_CACHE_HOME to a folder that can."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_python(wish: str, say: Callable[[str], None]) -> Path:
    if wish != "auto":
        return _chosen(wish, "--python")
    if VARIABLE in os.environ:
        return _chosen(os.environ[VARIABLE], VARIABLE)
    for candidate in _candidates(say):
        interpreter = _introduce(candidate)
        if interpreter is not None:
            return interpreter
    raise MissingPartError(
        "redner needs a Python 3.8, and none was found: not on the path, not among pyenv's versions, and not "
        "by uv. Any of these mends it, none needs root:\n"
        f"  {pip_install('uv')} && {COMMAND}\n"
        f"  pyenv install 3.8 && {COMMAND}\n"
        f"  conda create -p ./python38 python=3.8 && {COMMAND} --python ./python38/bin/python"
    )


def _candidates(say: Callable[[str], None]) -> Iterator[str]:
    """Pythons that may be 3.8, the likeliest first; the last one is fetched."""
    on_path = shutil.which("python3.8")
    if on_path:
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob("versions/3.8.*/bin/python3.8"), reverse=True))
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        yield from _output([uv, "python", "find", "3.8"])
        say("No Python 3.8 was found; uv fetches one.")
        _output([uv, "python", "install", "3.8"], INSTALL_SECONDS)
        yield from _output([uv, "python", "find", "3.8"])


def _chosen(path: str, where: str) -> Path:
    """The Python that the user named, if it is what redner needs."""
    interpreter = _introduce(shutil.which(path) or str(Path(path).expanduser().absolute()))
    if interpreter is None:
        raise MissingPartError(
            f"{where} = {path}: this is no Python 3.8 for {platform.machine()}, which redner needs."
        )
    return interpreter


def _introduce(path: str) -> Path | None:
    """The interpreter behind a path, if that is a Python which redner works with."""
    for line in _output([path, "-I", "-c", _INTRODUCE]):
        major, minor, machine, executable = line.split("|")
        if (int(major), int(minor)) == PYTHON and machine == platform.machine():
            return Path(executable)
    return None


def _install(interpreter: Path, target: Path) -> None:
    """Put the packages into a folder with whichever installer there is."""
    options = ["install", "--no-deps", "--only-binary=:all:", "--target", str(target)]
    ways = []
    if find_spec("pip") is not None:
        tag = [f"--python-version={PYTHON[0]}.{PYTHON[1]}", "--implementation=cp", "--abi=cp38"]
        platforms = [f"--platform={name}_x86_64" for name in ("manylinux2014", "manylinux1")]
        ways.append(module("pip", *options, "--no-compile", *tag, *platforms))
    if _output([str(interpreter), "-I", "-m", "pip", "--version"]):
        ways.append([str(interpreter), "-I", "-m", "pip", *options, "--no-compile"])
    if shutil.which("uv"):
        ways.append(["uv", "pip", *options, "--python", str(interpreter)])
    if not ways:
        raise MissingPartError(
            f"redner cannot be installed: there is neither pip nor uv. Get one, then: {COMMAND}"
        )
    complaint = ""
    for way in ways:
        shutil.rmtree(target, ignore_errors=True)
        try:
            run = subprocess.run(
                [*way, *PACKAGES],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            complaint = f"it was not done after {INSTALL_SECONDS} s"
            continue
        if run.returncode == 0:
            return
        complaint = "\n".join(run.stdout.strip().splitlines()[-5:])
    raise MissingPartError(
        f"{' and '.join(PACKAGES)} could not be installed. Is the package index within reach?\n{complaint}"
    )


def _output(command: list[str], seconds: float = 60) -> list[str]:
    """The lines that a command prints, none where it fails."""
    try:
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.splitlines() if run.returncode == 0 else []
