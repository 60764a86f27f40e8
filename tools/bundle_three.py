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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tools" / "three"
TARGET = ROOT / "nextface" / "export" / "report" / "data"


def main() -> None:
    """Install the pinned packages into a folder of their own, and write the bundle and its licence."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in SOURCE.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True)
        script = TARGET / "three.min.js"
        words = ["entry.js", "--bundle", "--minify", "--format=iife", "--global-name=THREE", "--target=es2020"]
        words += ["--legal-comments=inline", "--charset=ascii", f"--outfile={script}"]
        subprocess.run([folder / "node_modules" / ".bin" / "esbuild", *words], cwd=folder, check=True)
        shutil.copyfile(folder / "node_modules" / "three" / "LICENSE", TARGET / "LICENSE.three.txt")


if __name__ == "__main__":
    main()
