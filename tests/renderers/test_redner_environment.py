"""Setting redner up: where a Python is looked for, what is said without one, what an interruption leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, TINY, command, environment, settings
from redner_set_up import require_redner
from typer.testing import CliRunner

import renderers
from nextface import cli
from nextface.errors import MissingPartError, RendererError
from renderers.redner import installation as redner_environment
from renderers.redner.installation import RednerInstallation, find_environment, folder, set_up
from renderers.redner.process import RednerProcess
from renderers.redner.scene import frames, sampling_tables
from renderers.settings import Settings


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python 3.8 of this machine."""
    return require_redner().python


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, with nothing said about Pythons."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(redner_environment.VARIABLE, raising=False)
    yield tmp_path / "cache" / "nextface"


@pytest.fixture
def nowhere(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where no Python 3.8 is to be found; the folder of programs on its path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    return programs


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def found(wish: str = "auto") -> Path:
    return redner_environment._find_python(wish, lambda _: None)


def test_without_redner_the_command_is_named(cache: Path) -> None:
    with pytest.raises(MissingPartError, match="nextface setup redner"):
        renderers.create("redner")
    assert "nextface setup redner" in (renderers.available()["redner"] or "")


def test_pythons_are_looked_for_in_order(
    python: Path, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place that is added is nearer, so that it wins; each holds a broken one, too."""

    def place(path: Path) -> Path:
        return program(path, f'exec "{python}" "$@"')

    with pytest.raises(MissingPartError, match=r"pyenv install 3\.8"):
        found()
    asked = tmp_path / "asked"
    fetched = place(tmp_path / "uv" / "python3.8")
    program(
        nowhere / "uv",
        f'echo "$*" >> {asked}\n[ "$2" = find ] && [ ! -e {tmp_path}/installed ] && exit 2\n'
        f'[ "$2" = install ] && touch {tmp_path}/installed || echo {fetched}',
    )
    monkeypatch.setenv("PATH", f"{nowhere}:/bin:/usr/bin")
    assert found() == python
    assert asked.read_text().splitlines() == ["python find 3.8", "python install 3.8", "python find 3.8"]
    asked.unlink()
    place(tmp_path / "pyenv" / "versions" / "3.8.1" / "bin" / "python3.8")
    program(tmp_path / "pyenv" / "versions" / "3.8.9" / "bin" / "python3.8", "exit 127")
    assert found() == python
    assert not asked.exists()
    (tmp_path / "pyenv" / "versions" / "3.8.1" / "bin" / "python3.8").unlink()
    place(nowhere / "python3.8")
    assert found() == python
    assert not asked.exists()
    monkeypatch.setenv(redner_environment.VARIABLE, "/no/such/python")
    with pytest.raises(MissingPartError, match=r"NEXTFACE_REDNER_PYTHON = /no/such/python"):
        found()
    assert found(str(python)) == python
    with pytest.raises(MissingPartError, match="--python"):
        found(os.path.realpath("/proc/self/exe"))  # this very Python is too new


def test_the_set_up_is_done_once_and_repaired(python: Path, cache: Path) -> None:
    """With the real packages: the set-up that this machine has, but elsewhere."""

    def set_up_redner(*words: str) -> str:
        run = CliRunner().invoke(cli.app, ["setup", "redner", *words])
        assert run.exit_code == 0, run.output
        return run.output

    first = set_up_redner("--python", str(python))
    assert "is set up" in first and str(folder()) in first
    assert sorted(path.name for path in folder().iterdir()) == ["environment.json", "packages"]
    assert "was there already" in set_up_redner()
    (module,) = (folder() / "packages").glob("redner*.so")
    module.write_bytes(b"damaged")
    with pytest.raises(MissingPartError, match=r"(?s)redner does not load.*setup redner"):
        renderers.create("redner", Settings(threads=1))
    repaired = set_up_redner("--python", str(python))
    assert "does not work and is made anew" in repaired and "is set up" in repaired
    assert nothing_unfinished(cache)


def nothing_unfinished(cache: Path) -> bool:
    return not [path.name for path in cache.iterdir() if path.name.startswith(redner_environment.BUILDING)]


def test_an_interrupted_set_up_leaves_nothing_that_counts(python: Path, cache: Path) -> None:
    for how in (signal.SIGKILL, signal.SIGINT):
        run = subprocess.Popen(
            command("setup", "redner", "--python", str(python)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        end = time.monotonic() + 300  # on a busy machine
        while not list(cache.glob(f"{redner_environment.BUILDING}*/environment/packages")):
            assert time.monotonic() < end and run.poll() is None
            time.sleep(0.01)
        os.killpg(run.pid, how)
        _, said = run.communicate(timeout=30)
        assert "Traceback" not in said
        with pytest.raises(MissingPartError, match="not set up"):
            find_environment()
    tried: list[RednerInstallation] = []
    environment_, new = set_up(str(python), tried.append, lambda _: None)
    assert new
    assert tried[0].packages != environment_.packages  # it was tried out before it took its place
    assert nothing_unfinished(cache)


def test_an_environment_that_does_not_work_is_not_kept(
    python: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(_: Path, target: Path) -> None:
        target.mkdir(parents=True)

    def refuse(_: RednerInstallation) -> None:
        raise RendererError("it draws nonsense")

    monkeypatch.setattr(redner_environment, "_install", install)
    with pytest.raises(RendererError, match="nonsense"):
        set_up(str(python), refuse, lambda _: None)
    assert not folder().exists()
    assert nothing_unfinished(cache)


def test_what_the_installer_said_is_passed_on(
    python: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redner_environment, "PACKAGES", ("numpy==1.24.4", "redner==99.0"))
    with pytest.raises(MissingPartError, match=r"(?s)could not be installed.*redner==99\.0"):
        set_up(str(python), lambda _: None, lambda _: None)


def test_a_python_that_went_away_is_explained(cache: Path) -> None:
    folder().mkdir(parents=True)
    (folder() / "environment.json").write_text(json.dumps({"python": "/gone/python3.8"}))
    with pytest.raises(MissingPartError, match=r"gone \(/gone/python3\.8\).*nextface setup redner"):
        find_environment()
    (folder() / "environment.json").write_text("{")
    with pytest.raises(MissingPartError, match="not set up"):
        find_environment()


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MissingPartError, match="XDG_CACHE_HOME"):
        set_up("auto", lambda _: None, lambda _: None)


def test_other_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MissingPartError, match="aarch64"):
        find_environment()


def test_the_command_line_reconstructs_with_redner(tmp_path: Path) -> None:
    require_redner()
    words = ["reconstruct", "--input", str(PORTRAIT), "--output", str(tmp_path), "--renderer", "redner"]
    run = CliRunner().invoke(cli.app, [*words, *settings(TINY)])
    assert run.exit_code == 0 and "Done in" in run.output, run.output
    assert (tmp_path / PORTRAIT.stem / "render_0.png").exists()


def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> str:
    """What the command says that draws with redner where the cache has no redner that works."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    words = ["reconstruct", "--input", str(PORTRAIT), "--output", str(folder), "--renderer", "redner"]
    run = CliRunner().invoke(cli.app, words)
    assert run.exit_code == 2 and "Traceback" not in run.output, run.output
    return " ".join(run.output.split())


def test_the_command_line_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nextface setup redner" in refused(tmp_path / "out", monkeypatch, tmp_path)


@pytest.mark.parametrize("damage", ["no packages", "no redner"])
def test_a_damaged_set_up_is_told_before_anything_is_fitted(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = require_redner()
    place = tmp_path / "nextface" / whole.packages.parent.name
    (place / "packages").mkdir(parents=True)
    shutil.copy(whole.packages.parent / "environment.json", place)
    if damage == "no redner":
        for path in whole.packages.glob("numpy*"):
            (place / "packages" / path.name).symlink_to(path)
    said = refused(tmp_path / "out", monkeypatch, tmp_path)
    assert "does not load" in said and "nextface setup redner" in said
    assert "1 landmarks" not in said


HERE = """
import sys
sys.path[:0] = [{packages!r}, {project!r}]
import numpy as np
from renderers.redner.in_process import RednerHere
arrays = dict(np.load({scene!r}))
options = {options!r}
drawn = RednerHere().load(arrays, options)
image = drawn.draw([4, 1], [1, 2])
np.savez({result!r}, image=image, **drawn.differentiate(np.ones_like(image), [4, 1], [3, 4]))
"""


def test_where_redner_imports_it_works_without_a_process(tmp_path: Path) -> None:
    """In the old Python itself, which runs the renderer's lowest part: the same bits as through the process."""
    place = require_redner()
    generator = np.random.default_rng(0)
    environments = np.zeros((2, 8, 16, 3), np.float32)
    environments[:, 1:-1, 1:7] = generator.uniform(0.5, 1, (2, 6, 6, 3))
    rows, columns, densities, lit = sampling_tables(environments)
    arrays = {
        "positions": np.array([[-300, -300, 500], [0, 600, 500], [300, -300, 500]], np.float32),
        "normals": np.tile(np.array([[0, 0, -1]], np.float32), (3, 1)),
        "triangles": np.array([[0, 1, 2]], np.int32),
        "uvs": np.array([[0.3, 0.3], [0.3, 0.7], [0.7, 0.3]], np.float32),
        "uv_triangles": np.array([[0, 1, 2]], np.int32),
        "diffuse": generator.uniform(0, 1, (4, 4, 3)).astype(np.float32),
        "specular": np.full((4, 4, 3), 0.04, np.float32),
        "roughness": np.full((4, 4, 1), 0.3, np.float32),
        "environments": environments,
        "frames": frames(8),
        "rows": rows,
        "columns": columns,
        "projection": np.eye(3, dtype=np.float32),
        "rays": np.eye(3, dtype=np.float32),
    }
    options = {"width": 8, "height": 8, "max_bounces": 1, "edges": True, "densities": densities, "lit": lit}
    np.savez(tmp_path / "scene.npz", **arrays)
    program = HERE.format(
        packages=str(place.packages),
        project=str(Path(renderers.__file__).parent.parent),
        scene=str(tmp_path / "scene.npz"),
        options=options,
        result=str(tmp_path / "result.npz"),
    )
    subprocess.run([str(place.python), "-I", "-c", program], check=True, timeout=60)
    here = np.load(tmp_path / "result.npz")
    engine = RednerProcess(place.command, place.packages, threads=1)
    scene = engine.load(arrays, options)
    image = scene.draw([4, 1], [1, 2])
    gradients = scene.differentiate(np.ones_like(image), [4, 1], [3, 4])
    engine.close()
    assert image[..., 3].any() and image[..., 0].any()
    np.testing.assert_array_equal(here["image"], image)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            here[name], gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max(), err_msg=name
        )
