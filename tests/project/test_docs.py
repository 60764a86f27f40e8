"""What the documents say exists: commands, options, keys, names, paths and links."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from nextface.cli import app
from nextface.config import KEYS, Config
from nextface.person.reconstruction import Reconstruction

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/*.md", "baselMorphableModel/*.md", "nextface/**/*.md")
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for pattern in PATTERNS
    for path in sorted(ROOT.glob(pattern))
}
README = DOCUMENTS["README.md"]
COMMANDS = get_command(app).commands
NOT_OURS = {"--index-url"}  # an option of pip


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_commands() -> list[str]:
    """Every command of the README's shell blocks, without comments."""
    lines = "".join(blocks("sh")).splitlines()
    return [command for line in lines if (command := line.partition(" #")[0].strip())]


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table under a heading of the README."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)))


def anchors(text: str) -> set[str]:
    """The anchors that headings get on the web."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name]):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        assert target.exists() and target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_exist(name: str) -> None:
    for path in re.findall(
        r"`((?:nextface|renderers|benchmarks|tools|docs|configs|tests)/[\w./]+)`", DOCUMENTS[name]
    ):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:fitting|export)/[\w./]+)`", DOCUMENTS[name]):  # said without their package
        assert (ROOT / "nextface" / path).exists(), path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_settings_are_valid(name: str) -> None:
    for setting in re.findall(r"`([a-z]\w+ = \w+)`", DOCUMENTS[name]):
        Config().with_overrides([setting])


def test_set_up_commands_exist() -> None:
    used = [command for command in shell_commands() if command.startswith("python3 tools/")]
    assert {"python3 tools/bootstrap.py demo", "python3 tools/bootstrap.py test"} <= set(used)
    explained = (ROOT / "tools" / "bootstrap.py").read_text(encoding="utf-8").split('"""')[1]
    assert all(command in explained for command in used)


def test_ci_does_what_the_readme_says() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    steps = [line for line in lines if "pip install" in line or "bootstrap.py" in line]
    assert len(steps) >= 2
    assert set(steps) <= set(shell_commands())


def test_program_accepts_the_commands() -> None:
    """Parsed by the program itself, without running anything."""
    lines = [words for line in shell_commands() if (words := shlex.split(line))[0] == ".venv/bin/nextface"]
    assert len(lines) > 5
    for _, name, *arguments in lines:
        given = COMMANDS[name].make_context(name, arguments).params
        Config().with_overrides(given.get("set_") or [])
        assert given.get("config") is None or Config.from_file(ROOT / given["config"])


def test_named_commands_and_options_exist() -> None:
    assert set(re.findall(r"`(?:\.venv/bin/)?nextface (\w+)", README)) <= set(COMMANDS)
    options = {option for command in COMMANDS.values() for item in command.params for option in item.opts}
    assert set(re.findall(r"`(--\w[\w-]*)", README)) <= options | NOT_OURS


def test_named_keys_exist() -> None:
    assert len(first_column("Settings")) > 15
    assert set(first_column("Settings")) <= set(KEYS)
    for key, value in re.findall(r"--set ([a-z]\w+)=(\w+)", README):
        Config().with_overrides({key: value})


def test_python_names_exist() -> None:
    (code,) = blocks("python")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute):
            assert node.attr in {*Reconstruction.__dataclass_fields__, *dir(Reconstruction)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Config":
            Config(**{item.arg or "": ast.literal_eval(item.value) for item in node.keywords})
