#!/usr/bin/env python3
"""Bundle what the report's 3D view uses of three.js into one script, which ships with the package.

    python3 tools/bundle_three.py

Pages that are opened as files load no modules, so they carry this script within themselves. The versions are
those of tools/three/package-lock.json. Needs Node.js with npm; run it again after a change of tools/three/.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tools" / "three"
TARGET = ROOT / "nextface" / "export" / "report" / "data"


def main() -> None:
    """Write the bundle and its licence."""
    with packages() as folder:
        bundle(folder, "entry.js", TARGET / "three.min.js", "THREE")
        shutil.copyfile(folder / "node_modules" / "three" / "LICENSE", TARGET / "LICENSE.three.txt")


@contextmanager
def packages() -> Iterator[Path]:
    """A folder with tools/three's files and the packages that they pin."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in SOURCE.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True)
        yield folder


def bundle(folder: Path, entry: str, script: Path, name: str) -> None:
    """Write a file of tools/three with all that it uses as one script, in which it is the global `name`."""
    words = [entry, "--bundle", "--minify", "--format=iife", f"--global-name={name}", "--target=es2020"]
    words += ["--legal-comments=inline", "--charset=ascii", f"--outfile={script}"]
    subprocess.run([folder / "node_modules" / ".bin" / "esbuild", *words], cwd=folder, check=True)


if __name__ == "__main__":
    main()
