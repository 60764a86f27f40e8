"""Adding a backend or a face model touches its own folder only: choices, help and doctor ask the registries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BACKEND = """
from renderers.registry import Backend
from renderers.vertex import BACKEND as VERTEX

def broken():
    raise OSError("no such lamp")

def hint():
    return "Light it."

BACKEND = Backend("lantern", "by candle light", VERTEX.create, VERTEX.check, {"lantern": broken}, hint)
"""

MODEL = """
from nextface.models.open_head import MODEL as OPEN
from nextface.models.registry import ModelEntry

def examine(folder):
    raise OSError(f"no wax in {folder}")

MODEL = ModelEntry("waxwork", "from a chamber of horrors", OPEN.create, examine)
"""


def in_new_process(program: str, *arguments: str | Path) -> str:
    """What a program prints."""
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_folder_makes_a_backend(tmp_path: Path) -> None:
    (tmp_path / "lantern").mkdir()
    (tmp_path / "lantern" / "__init__.py").write_text(BACKEND, encoding="utf-8")
    program = """
import sys, renderers
renderers.__path__.append(sys.argv[1])
from typer.testing import CliRunner
from nextface import cli, doctor
from nextface.config import Config
assert "torch" not in sys.modules
print(CliRunner().invoke(cli.app, ["config", "--set", "renderer=lantern"]).output)
print(CliRunner().invoke(cli.app, ["reconstruct", "--help"], terminal_width=200).output)
backend = renderers.backends()["lantern"]
print(doctor._try("lantern", backend.examinations["lantern"], backend.hint()))
assert renderers.create("lantern").name == "vertex"
"""
    printed = in_new_process(program, tmp_path)
    assert "renderer = lantern" in printed
    assert "lantern (by candle light)" in printed
    assert "lantern|mitsuba|redner|vertex" in printed
    assert "no such lamp" in printed and "Light it." in printed


def test_a_folder_makes_a_face_model(tmp_path: Path) -> None:
    (tmp_path / "waxwork").mkdir()
    (tmp_path / "waxwork" / "__init__.py").write_text(MODEL, encoding="utf-8")
    program = """
import sys, nextface.models
nextface.models.__path__.append(sys.argv[1])
from typer.testing import CliRunner
from nextface import cli, doctor
assert "torch" not in sys.modules
print(CliRunner().invoke(cli.app, ["config", "--set", "morphableModel=waxwork"]).output)
print(doctor._face_models())
assert "torch" in sys.modules
assert nextface.models.create("waxwork").name == "open"
"""
    printed = in_new_process(program, tmp_path)
    assert "morphableModel = waxwork" in printed
    assert "waxwork (from a chamber of horrors)" in printed
    assert "no wax in baselMorphableModel" in printed
