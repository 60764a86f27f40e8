"""The set-up script: what can be checked without installing anything."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "bootstrap.py"


def bootstrap(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", str(script), *arguments], capture_output=True, text=True, timeout=60
    )


def copy_into(folder: Path) -> Path:
    """The script in a project of its own, so that it finds no .venv."""
    (folder / "tools").mkdir()
    script = folder / "tools" / "bootstrap.py"
    script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    return script


def test_uses_the_standard_library_alone() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_explains_itself() -> None:
    for arguments, code in (([], 0), (["--help"], 0), (["tset"], 2)):
        run = bootstrap(SCRIPT, *arguments)
        assert run.returncode == code
        assert "bootstrap.py demo" in run.stdout


def test_reports_a_python_without_venv(tmp_path: Path) -> None:
    script = copy_into(tmp_path)
    (script.parent / "ensurepip.py").write_text("raise ImportError")  # found before the standard library's
    run = bootstrap(script, "setup")
    assert run.returncode == 2
    assert "apt install python3-venv" in run.stderr
    assert "Traceback" not in run.stderr


def test_reports_a_broken_environment(tmp_path: Path) -> None:
    script = copy_into(tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    run = bootstrap(script, "setup")
    assert run.returncode == 2
    assert "Delete it" in run.stderr


def test_pins_agree_with_the_project() -> None:
    """MediaPipe and the LLVM wheel are named twice, because an extra cannot say --no-deps."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    script = SCRIPT.read_text(encoding="utf-8")
    for pin in (r"mediapipe>=[\d.]+,<\d+", r"tadashi==[\d.]+"):
        assert set(re.findall(pin, project)) == set(re.findall(pin, script)) != set()
