"""Versions of what a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("nextface", "torch", "numpy", "mitsuba", "drjit", "mediapipe", "opencv-contrib-python-headless")


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that matter, by name."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
