#!/usr/bin/env python3
"""Set up the project in .venv and run it. Needs Python 3.10 or newer with venv and pip, and nothing else.

    python3 tools/bootstrap.py demo     reconstruct the bundled portrait into output/astronaut
    python3 tools/bootstrap.py test     run the tests
    python3 tools/bootstrap.py lint     check style and types
    python3 tools/bootstrap.py setup    only set up

Further arguments go to `nextface demo` or pytest. The set-up installs the project and its dependencies into
.venv, which is created when absent; it keeps what is already there (a CPU build of PyTorch, for example),
and it is skipped while nothing has changed. This file uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

MINIMUM_PYTHON = (3, 10)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")

# MediaPipe's metadata asks for a desktop build of OpenCV, which needs libGL and would overwrite the headless
# one. The landmark detector runs on the headless build; all else it needs is certifi.
MEDIAPIPE = ["mediapipe>=1.2.2,<2", "certifi"]

# A wheel that carries libLLVM 17 for Mitsuba on the CPU. Only that library is used, never its Python code,
# so one wheel serves every Python version; it is built for 3.11.
LLVM = "tadashi==0.5.1"
LLVM_WHEEL = ["--python-version=3.11", "--implementation=cp", "--abi=cp311", "--platform=manylinux_2_28_x86_64"]

# The tests of pages look for these names, too (tests/helpers/results/browser.py).
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APT_INSTALL = ["apt-get", "install", "-qqy", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"]

LLVM_PROBE = """
import torch
if not torch.cuda.is_available():
    from renderers.mitsuba.llvm import find_llvm
    find_llvm()
"""


def main() -> int:
    """Set up, run, and return the exit code."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("help", [])
    if command not in ("demo", "test", "lint", "setup"):
        print(__doc__)
        return 0 if command in ("help", "-h", "--help") else 2
    if sys.version_info < MINIMUM_PYTHON:
        return complain(f"Python 3.10 or newer is needed; this is {platform.python_version()}.")
    try:
        set_up("dev" if command in ("test", "lint") else "")
        if command == "demo":
            return run("-m", "nextface", "demo", *arguments, check=False)
        if command == "test":
            return run("-m", "pytest", *arguments, check=False)
        if command == "lint":
            checks = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
            return max(run("-m", *check, check=False) for check in checks)
    except SetupError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


class SetupError(Exception):
    """The set-up cannot go on; the message says how to mend it."""


def set_up(extra: str) -> None:
    """Create .venv and install the project with an extra, unless that was done for this very state."""
    create_environment()
    state = fingerprint()
    if any(stamp(done).is_file() and stamp(done).read_text() == state for done in {extra, "dev"}):
        return
    print(f"Setting up {VENV}; the first time takes a few minutes.", flush=True)
    run("-m", "pip", "install", "--editable", f".[{extra}]" if extra else ".")
    if run("-m", "pip", "install", "--no-deps", *MEDIAPIPE, check=False):
        print("MediaPipe has no package for this machine; its networks will run in OpenCV instead.", flush=True)
    add_llvm()
    if extra == "dev":
        add_chromium()
        add_node()
    stamp(extra).write_text(state)


def create_environment() -> None:
    """Make .venv, or check the one that is there."""
    if not PYTHON.exists():
        try:
            import ensurepip  # noqa: F401  (Debian and Ubuntu keep it in a package of its own)
            import venv  # noqa: F401
        except ImportError:
            raise SetupError(
                "This Python cannot create virtual environments. Install what is missing with\n"
                "  sudo apt install python3-venv\n"
                "or, without root: python3 -m pip install --user virtualenv && python3 -m virtualenv .venv\n"
                "and run me again."
            ) from None
        if subprocess.call([sys.executable, "-m", "venv", str(VENV)]):
            raise SetupError(f"{VENV} could not be created; the message above says why.")
    script = f"import pip, sys; sys.exit(sys.version_info < {MINIMUM_PYTHON})"
    if subprocess.run([str(PYTHON), "-c", script], stderr=subprocess.DEVNULL).returncode:
        raise SetupError(
            f"{VENV} is broken, has no pip or has a Python older than 3.10. Delete it and run me again."
        )


def add_llvm() -> None:
    """Install a libLLVM for Mitsuba's CPU variant where there is neither a usable one nor CUDA."""
    if run("-c", LLVM_PROBE, check=False, quiet=True) == 0:
        return
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        print("No usable libLLVM was found: adding one (79 MB).", flush=True)
        packages = output("-c", "import sysconfig; print(sysconfig.get_path('platlib'))")
        run(
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--only-binary=:all:",
            *LLVM_WHEEL,
            "--target",
            packages,
            LLVM,
            check=False,
        )
        if run("-c", LLVM_PROBE, check=False, quiet=True) == 0:
            return
    print(
        f"Mitsuba will not run on this CPU yet. What to install says: {SCRIPTS / 'nextface'} doctor", flush=True
    )


def add_chromium() -> None:
    """Install a Chromium for the tests of pages where there is none: Debian's as root, else Playwright's."""
    if any(map(shutil.which, CHROMIUM)) or added_by_apt("chromium"):
        return
    if run("-m", "playwright", "install", "--only-shell", "chromium", check=False):
        print(
            "There is no Chromium, so the tests of pages will fail. On Debian: sudo apt install chromium",
            flush=True,
        )


def add_node() -> None:
    """Install Node.js, on which Khronos' glTF validator runs, where there is none: Debian's, as root."""
    if not (shutil.which("node") and shutil.which("npm")) and not added_by_apt("nodejs", "npm"):
        print(
            "There is no Node.js with npm, so tests with the glTF validator will be skipped. On Debian: "
            "sudo apt install nodejs npm",
            flush=True,
        )


def added_by_apt(*packages: str) -> bool:
    """Install Debian's packages; whether that was possible, as it is for root alone."""
    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")):
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=quiet)
    return subprocess.run([*APT_INSTALL, *packages], env=quiet).returncode == 0


def fingerprint() -> str:
    """What an installation depends on, as one hash."""
    version = output("-c", "import sys; print(sys.version)")
    content = (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes() + version.encode()
    return hashlib.sha256(content).hexdigest()


def stamp(extra: str) -> Path:
    """The file that remembers the fingerprint of a finished set-up."""
    return VENV / f"nextface-setup-{extra or 'run'}"


def run(*arguments: str, check: bool = True, quiet: bool = False) -> int:
    """Run .venv's Python in the project's folder and return the exit code."""
    sink = subprocess.DEVNULL if quiet else None
    code = subprocess.run([str(PYTHON), *arguments], cwd=ROOT, stdout=sink, stderr=sink).returncode
    if check and code:
        raise SetupError(f"This failed: {PYTHON} {' '.join(arguments)}")
    return code


def output(*arguments: str) -> str:
    """What .venv's Python prints."""
    return subprocess.check_output([str(PYTHON), *arguments], cwd=ROOT, text=True).strip()


def complain(message: str) -> int:
    """Say what is wrong and how to mend it."""
    print(f"Error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
