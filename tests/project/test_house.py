"""The rules of the house in docs/architecture.md: which room is above which, and how large a room may be."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nextface", "renderers")

FLOORS = (  # from the roof to the cellar; rooms of one floor do not import each other
    ("nextface/__main__.py",),
    ("nextface/cli.py",),
    ("nextface/commands/",),
    ("nextface/doctor.py",),
    ("nextface/__init__.py",),
    ("nextface/batch/",),
    ("nextface/runs/",),
    ("nextface/export/report/", "nextface/export/films/"),
    ("nextface/export/formats/",),
    ("nextface/export/head/", "nextface/export/saved/"),
    ("nextface/export/",),
    ("nextface/preparation/",),
    ("nextface/fitting/tracking/",),
    ("nextface/fitting/statistical/", "nextface/fitting/refinement/"),
    ("nextface/fitting/landmarks/", "nextface/fitting/transfer/"),
    ("nextface/fitting/terms/",),
    ("nextface/person/",),
    ("nextface/completion/",),
    ("nextface/landmarks/embedding/",),
    ("nextface/landmarks/detection/",),
    ("nextface/landmarks/",),
    ("nextface/models/",),
    ("nextface/surfaces/", "nextface/model_files/"),
    ("nextface/cameras/",),
    ("nextface/photos/", "nextface/videos/"),
    ("renderers/__init__.py",),
    ("renderers/mitsuba/", "renderers/redner/", "renderers/vertex/"),
    ("renderers/",),
    ("nextface/scene/",),
    ("nextface/config.py",),
    ("nextface/export/registry.py", "nextface/models/registry.py", "renderers/registry.py"),
    ("renderers/settings.py",),
    ("nextface/system/",),
    ("nextface/errors.py",),
)
HEIGHT = {room: -floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DRAWN_AS_PARTS = (  # files without a line of their own in the picture
    "nextface/__main__.py",
    "nextface/__init__.py",
    "renderers/__init__.py",
)
EMPTY = ("nextface/fitting/__init__.py",)  # the folder is only a way to its rooms

SEEN_BY_RENDERERS = ("nextface/scene/", "nextface/system/", "nextface/errors.py")
BACKENDS = ("renderers/mitsuba/", "renderers/redner/", "renderers/vertex/")
MODELS = "nextface/models/"
CHOOSE_BACKENDS = (
    "nextface/cli.py",
    "nextface/commands/",
    "nextface/doctor.py",
    "nextface/runs/",
    "renderers/__init__.py",
)

MOST_MODULES = 14
FOLDERS = ("nextface", "renderers", "benchmarks", "tests", "tools")
NAMED_LIKE_THEIR_MAIN_FUNCTION = {  # do not add to these without need
    "nextface/commands/convert.py",
    "nextface/commands/exit_codes.py",
    "nextface/commands/model.py",
    "nextface/commands/export.py",
    "nextface/commands/batch.py",
    "nextface/commands/multiview.py",
    "nextface/commands/track.py",
    "nextface/commands/reconstruct.py",  # every module of commands/ is named after its command
    "nextface/commands/view.py",
    "nextface/doctor.py",  # the command of this name is in cli.py
    "nextface/fitting/refinement/refine.py",
    "nextface/preparation/face_region.py",
    "nextface/preparation/prepare.py",
    "nextface/preparation/random_walk.py",
    "nextface/system/versions.py",
    "renderers/mitsuba/probe.py",
}


def modules() -> dict[str, Path]:
    """Every module of the program, by its dotted name (a package's for its __init__.py)."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(path: Path) -> str:
    """The most particular room that a file lies in."""
    inside = path.relative_to(ROOT).as_posix()
    fitting = [name for name in HEIGHT if inside == name or (name[-1] == "/" and inside.startswith(name))]
    assert fitting, f"{inside} lies in no room: give it one in FLOORS and in docs/architecture.md"
    return max(fitting, key=len)


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """The program's modules that a file imports, at its top, in functions or for types alone."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


@cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """Which room imports which, and the imports that do."""
    found = defaultdict(list)
    for name, path in MODULES.items():
        if path.relative_to(ROOT).as_posix() in EMPTY:
            continue
        for imported in imports(path):
            above, below = room(path), room(MODULES[imported])
            if above != below:
                found[above, below].append(f"{name} imports {imported}")
    return dict(found)


def test_no_arrow_runs_upwards() -> None:
    wrong = [why for (above, below), why in arrows().items() if HEIGHT[above] <= HEIGHT[below]]
    assert not wrong


def test_no_import_is_relative() -> None:
    """Relative imports would go unseen by the other tests."""
    for path in MODULES.values():
        assert not [node for node in ast.walk(syntax(path)) if isinstance(node, ast.ImportFrom) and node.level]


def test_modules_import_each_other_in_no_circle() -> None:
    graph = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_renderers_know_the_scene_and_the_system_alone() -> None:
    wrong = [
        why
        for (above, below), why in arrows().items()
        if above.startswith("renderers/") and below.startswith("nextface/") and below not in SEEN_BY_RENDERERS
    ]
    assert not wrong


def test_only_who_chooses_a_backend_names_one() -> None:
    wrong = [
        why
        for (above, below), why in arrows().items()
        if below in BACKENDS and above not in (*CHOOSE_BACKENDS, *BACKENDS)
    ]
    assert not wrong


def test_nobody_names_a_face_model() -> None:
    """Each lies in a folder in MODELS, which only the registry knows."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in imports(path)
        if (own := model_folder(MODULES[imported])) and not path.is_relative_to(own)
    ]
    assert not wrong


def model_folder(path: Path) -> Path | None:
    """The folder of the face model that a module belongs to, or None."""
    inside = path.relative_to(ROOT)
    return ROOT.joinpath(*inside.parts[:3]) if inside.is_relative_to(MODELS) and len(inside.parts) > 3 else None


def test_folders_are_small() -> None:
    for top in FOLDERS:
        for folder in [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]:
            found = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(found) <= MOST_MODULES, f"{folder}: {len(found)} modules: {' '.join(sorted(found))}"


def test_nothing_is_called_like_a_module_beside_it() -> None:
    """`from room import name` must not mean a module here and a function there."""
    same = set()
    for path in MODULES.values():
        for node in syntax(path).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            for beside in (path.parent / f"{node.name}.py", path.parent / node.name / "__init__.py"):
                if beside.exists():
                    same.add(beside.relative_to(ROOT).as_posix())
    assert same <= NAMED_LIKE_THEIR_MAIN_FUNCTION


def picture() -> list[tuple[str, ...]]:
    """The rooms of each line of the picture in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = text.split("```")[1].strip().splitlines()
    return [tuple(re.findall(r"(?<!\S)(?:nextface|renderers)/\S*", line)) for line in lines]


def test_the_picture_shows_these_floors() -> None:
    shown = [rooms for rooms in picture() if rooms]
    ours = [tuple(room for room in rooms if room not in DRAWN_AS_PARTS) for rooms in FLOORS]
    assert shown == [rooms for rooms in ours if rooms]


@pytest.mark.parametrize("name", sorted(HEIGHT))
def test_rooms_exist(name: str) -> None:
    assert (ROOT / name).is_dir() if name.endswith("/") else (ROOT / name).is_file()
