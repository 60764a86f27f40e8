"""`nextface doctor`: what works on this machine, found by trying it, and what to install for the rest."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from textwrap import fill
from typing import Any

from nextface import __version__
from nextface.config import Config
from nextface.errors import MissingPartError, NextFaceError, RendererError
from nextface.models.registry import face_models
from nextface.system.python import child, pip_install
from nextface.system.threads import available_cores
from renderers import backends

DETECTOR_SECONDS = 300  # the fan detector fetches its weights when it is first tried

# In a process of its own, because a detector's native code may abort the process it runs in.
_DETECTORS = """
import json
from nextface.landmarks.detection import detector_status
print("STATUS=" + json.dumps(detector_status()))
"""


_WHOLE_WORDS: dict[str, Any] = {
    "break_long_words": False,
    "break_on_hyphens": False,
}  # paths and commands stay in one piece


@dataclass(frozen=True)
class Finding:
    """Whether one part works here."""

    part: str
    works: bool
    text: str  # what was found; where it does not work, also how to mend it


def examine() -> dict[str, list[Finding]]:
    """Try every part, and return what was found by group. Never raises; takes some seconds."""
    return {
        "Renderers (INI key renderer)": [
            _try(part, check, backend.hint())
            for backend in backends().values()
            for part, check in backend.examinations.items()
        ],
        "Devices of PyTorch (INI key device)": [_try("cpu", _torch_cpu), _try("cuda", _torch_cuda)],
        "Landmark detectors (INI key landmarksDetectorType)": _detectors(),
        "Face models (INI key morphableModel)": _face_models(),
        "Photo formats": [
            Finding("JPEG, PNG, WebP", True, "Always."),
            _try("HEIC", _heic),
        ],
    }


def report(findings: dict[str, list[Finding]]) -> str:
    """The findings as a page of plain text."""
    machine = f"{platform.system()} {platform.machine()}"
    lines = [f"NextFace {__version__}, Python {platform.python_version()}, {machine}"]
    for group, members in findings.items():
        lines += ["", group]
        for finding in members:
            head, indent = f"  {'works' if finding.works else 'no':<6}{finding.part:<20}  ", " " * 30
            for paragraph in finding.text.strip().splitlines():
                lines.append(
                    fill(paragraph, 100, initial_indent=head, subsequent_indent=indent, **_WHOLE_WORDS)
                )
                head = indent
    return "\n".join(lines)


def _try(part: str, check: Callable[[], str], hint: str = "") -> Finding:
    """Run a check, which returns what it found or raises; `hint` mends what is here but does not work."""
    try:
        return Finding(part, True, check())
    except RendererError as error:
        return Finding(part, False, f"{error}\n{hint}")
    except NextFaceError as error:
        return Finding(part, False, str(error))
    except Exception as error:  # a broken part of any kind is a finding, not a crash
        return Finding(part, False, f"{type(error).__name__}: {error}\n{hint}")


def _torch_cpu() -> str:
    return f"PyTorch {version('torch')}, {available_cores()} cores for this process."


def _torch_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        raise MissingPartError(
            "This PyTorch was built without CUDA, which is right where there is no NVIDIA GPU.\n"
            f"With one: {pip_install('--force-reinstall', 'torch')}"
        )
    if not torch.cuda.is_available():
        raise MissingPartError("PyTorch finds no NVIDIA GPU with a working driver.")
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}."


def _detectors() -> list[Finding]:
    parts = {
        "mediapipe": ("mediapipe", "MediaPipe starts: 478 points."),
        "opencv": (
            "  without MediaPipe",
            "The same networks run in OpenCV; used where MediaPipe does not start.",
        ),
        "fan": ("fan", "face-alignment starts: 68 points."),
    }
    try:
        run = subprocess.run(
            child(_DETECTORS),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DETECTOR_SECONDS,
        )
        status = json.loads(run.stdout.rpartition("STATUS=")[2])
    except subprocess.TimeoutExpired:
        status = dict.fromkeys(parts, f"The detectors did not start within {DETECTOR_SECONDS} s.")
    except ValueError:
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        status = dict.fromkeys(parts, f"Starting the detectors failed with code {run.returncode}: {last[0]}")
    return [Finding(title, status[name] is None, status[name] or good) for name, (title, good) in parts.items()]


def _face_models() -> list[Finding]:
    folder = Config().path
    return [_try(model.name, partial(model.examine, folder)) for model in face_models().values()]


def _heic() -> str:
    if find_spec("pillow_heif") is None:
        raise MissingPartError(f"Run `{pip_install('pillow-heif')}`.")
    return f"pillow-heif {version('pillow-heif')}."
