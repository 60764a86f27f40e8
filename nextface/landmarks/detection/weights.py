"""The packaged weights of Google's FaceLandmarker, and the networks inside."""

from __future__ import annotations

import zipfile
from pathlib import Path

from nextface.errors import MissingPartError

TASK_FILE = Path(__file__).parent / "data" / "face_landmarker.task"


def task_bytes() -> bytes:
    """The FaceLandmarker bundle, as MediaPipe loads it.

    Raises
    ------
    MissingPartError: the file is not in the installation.
    """
    try:
        return TASK_FILE.read_bytes()
    except OSError:
        raise _damaged() from None


def network_bytes(name: str) -> bytes:
    """One TensorFlow Lite network of the bundle, for example "face_detector".

    Raises
    ------
    MissingPartError: the bundle or the network in it is missing or damaged.
    """
    try:
        with zipfile.ZipFile(TASK_FILE) as bundle:
            return bundle.read(f"{name}.tflite")
    except (OSError, KeyError, zipfile.BadZipFile):
        raise _damaged() from None


def _damaged() -> MissingPartError:
    return MissingPartError(
        f"The landmark weights {TASK_FILE} are missing or damaged. Install nextface again, or run "
        "`python tools/fetch_face_landmarker.py` in a checkout."
    )
