"""Nothing that lies in the current folder is run, and messages tell commands that work as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HELPERS, ROOT, environment, nextface

from nextface.system import python

NAMES = (  # of modules that this program or its libraries import, now or at some time
    "numpy mitsuba drjit torch cv2 PIL scipy typer click rich nextface renderers toy_work psutil platformdirs "
    "selectors random socket tempfile json pickle ctypes hashlib subprocess signal threading traceback shlex "
    "shutil secrets struct multiprocessing dataclasses importlib_metadata pip runpy sitecustomize usercustomize"
)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder full of modules that leave a trace when they are run."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES.split():
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'a').write('{name} ')\n")
    return folder


def what_was_run(trap: Path) -> str:
    trace = trap.parent / "was run"
    return trace.read_text() if trace.exists() else ""


def run(program: str, trap: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A program of somebody's own, which lies elsewhere, in the folder."""
    script = trap.parent / "program.py"
    script.write_text(program)
    words = [sys.executable, script, *arguments]
    done = subprocess.run(words, cwd=trap, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no Bash here to paste a command into")
@pytest.mark.parametrize("name", [b"M\xfcller's \\1.jpg", b"\xe9b\n $HOME.png", "Müller's.jpg".encode()])
def test_a_printed_command_keeps_file_names_that_are_no_text(name: bytes) -> None:
    printed = python.command("reconstruct", os.fsdecode(name))
    printed.encode()  # it can be shown
    pasted = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {printed}"], capture_output=True, check=True, timeout=60
    )
    assert pasted.stdout.split(b"\0")[-2] == name


def test_python_would_run_what_lies_there(trap: Path) -> None:
    subprocess.run([sys.executable, "-c", "import random"], cwd=trap, env=environment(), check=True)
    assert what_was_run(trap) == "random "


WORKERS = """
import sys
sys.path.append(sys.argv[1])
from functools import partial
from pathlib import Path
from toy_work import ToyWork
from nextface.system.workers import run_in_workers
print(dict(sorted(run_in_workers([1, 2], 2, partial(ToyWork, Path(sys.argv[2])), lambda job, code: code))))
"""

PROBE = """
import sys
from pathlib import Path
from renderers.mitsuba import probe
print(probe._try("llvm_ad_rgb", Path(sys.argv[1]), ()).reason)
"""

DETECTORS = """
from nextface import doctor
print([finding.works for finding in doctor._detectors()])
"""

PIP = """
import subprocess
from nextface.system.python import module
subprocess.run(module("pip", "--version"), check=True)
"""


def test_workers_run_nothing_that_lies_there(trap: Path, tmp_path: Path) -> None:
    done = run(WORKERS, trap, HELPERS, tmp_path)
    assert "{0: 1, 1: 4}" in done.stdout
    assert not what_was_run(trap)


def test_the_probe_runs_nothing_that_lies_there(trap: Path, tmp_path: Path) -> None:
    rubbish = tmp_path / "libLLVM.so"
    rubbish.write_text("not a library")
    assert "libLLVM.so" in run(PROBE, trap, rubbish).stdout, "it got as far as to the library"
    assert not what_was_run(trap)


def test_the_doctor_runs_nothing_that_lies_there(trap: Path) -> None:
    assert "True" in run(DETECTORS, trap).stdout
    assert not what_was_run(trap)


@pytest.mark.skipif(not shutil.which("pip"), reason="there is no pip")
def test_pip_runs_nothing_that_lies_there(trap: Path) -> None:
    assert "pip" in run(PIP, trap).stdout
    assert not what_was_run(trap)


def test_the_command_runs_nothing_that_lies_there(trap: Path) -> None:
    """But `python -m` itself, which looks for nextface there before it has begun."""
    (trap / "nextface.py").unlink()
    (trap / "runpy.py").unlink()
    assert nextface("reconstruct", "nowhere.jpg", folder=trap).returncode == 2
    assert not what_was_run(trap)


def test_the_printed_command_runs_nothing_that_lies_there(trap: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 knows no option that keeps the variables of the environment")
    printed = run("from nextface.system.python import command; print(command('--version'))", trap).stdout
    for words in (shlex.split(printed), [sys.executable, "-P", "-m", "nextface", "--version"]):
        done = subprocess.run(words, cwd=trap, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "nextface" in done.stdout, done.stderr
    assert not what_was_run(trap)


def test_a_checkout_that_is_not_installed_runs_from_its_folder() -> None:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "nextface", "--version"], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# How commands are told


def test_a_command_is_told_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "some where" / "nextface"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "doctor"])
    monkeypatch.setenv("PATH", os.defpath)
    assert python.command("setup", "redner") == f"'{script}' setup redner"
    monkeypatch.setenv("PATH", str(script.parent))
    assert python.command("setup", "redner") == "nextface setup redner"


def test_a_module_is_told_as_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "nextface" / "__main__.py"), "doctor"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "nextface", "doctor"])
    safe = ["-P"] if sys.version_info >= (3, 11) else []
    assert shlex.split(python.command("doctor")) == [sys.executable, *safe, "-m", "nextface", "doctor"]


def test_what_is_told_of_pip_installs_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    words = shlex.split(python.pip_install("embreex>=4.4,<5"))
    assert words[-2:] == ["install", "embreex>=4.4,<5"]
    assert shutil.which(words[0]), "it can be run as it is"
