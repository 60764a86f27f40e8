"""Packages of npm that tests use, at the versions and checksums of node/package-lock.json."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from nextface.system.paths import cache_folder

NODE = Path(__file__).parent / "node"
LISTS = ("package.json", "package-lock.json")


def node_packages() -> Path:
    """The folder with node_modules, which is installed once into the user's cache.

    Where this machine has no Node.js, the test is skipped; where npm fails, it fails.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js (node and npm) on this machine")
    listed = b"".join((NODE / name).read_bytes() for name in LISTS)
    folder = cache_folder() / "tests" / f"node-{hashlib.sha256(listed).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in LISTS:
                shutil.copy(NODE / name, folder)
            words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
            assert run.returncode == 0, f"npm ci failed: {run.stderr}"
            (folder / "complete").touch()
    return folder


def validated(path: Path) -> dict[str, Any]:
    """The report of Khronos' glTF validator on a file."""
    words = ["node", str(NODE / "validate.mjs"), str(node_packages()), str(path)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    report: dict[str, Any] = json.loads(run.stdout)
    return report
