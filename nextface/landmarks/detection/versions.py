"""Versions of the detectors: what is kept of one's points is of no use to another."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version

from nextface.errors import MissingPartError
from nextface.landmarks.detection.weights import task_bytes

PACKAGES = {  # that draw or run each detector's networks
    "mediapipe": ("mediapipe", "opencv-contrib-python-headless"),
    "fan": ("face-alignment",),
}


def detector_version(detector: str) -> str:
    """Changes with the packages and the packaged weights that find a detector's points."""
    found = [detector]
    for package in PACKAGES[detector]:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    if detector != "fan":
        try:
            found.append(hashlib.sha256(task_bytes()).hexdigest())
        except MissingPartError:  # who detects says so; what was found before is still good for nothing
            found.append("no weights")
    return ", ".join(found)
