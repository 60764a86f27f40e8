"""`nextface doctor`: what works on this machine, found by trying it, and what to install for the rest."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from textwrap import fill
from typing import Any

from nextface import __version__
from nextface.errors import MissingPartError, NextFaceError
from nextface.system.threads import available_cores

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
            _try("mitsuba on a GPU", _mitsuba_on_gpu),
            _try("mitsuba on the CPU", _mitsuba_on_cpu),
            _try("vertex", _vertex),
            _try("redner", _redner),
        ],
        "Devices of PyTorch (INI key device)": [_try("cpu", _torch_cpu), _try("cuda", _torch_cuda)],
        "Landmark detectors (INI key landmarksDetectorType)": _detectors(),
        "Face models (INI key morphableModel)": [_try("open", _open_model), _try("basel2017", _basel)],
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
    return "\n".join([*lines, "", f"pip means here: {sys.executable} -m pip"])


def _try(part: str, check: Callable[[], str]) -> Finding:
    """Run a check, which returns what it found or raises."""
    try:
        return Finding(part, True, check())
    except NextFaceError as error:
        return Finding(part, False, str(error))
    except Exception as error:  # a broken part of any kind is a finding, not a crash
        return Finding(part, False, f"{type(error).__name__}: {error}")


def _mitsuba_on_gpu() -> str:
    from renderers.mitsuba.renderer import choose_variant

    choose_variant("cuda")
    return f"Mitsuba {version('mitsuba')}, ray tracing with OptiX."


def _mitsuba_on_cpu() -> str:
    from renderers.mitsuba.llvm import find_llvm

    library = find_llvm()
    return f"Mitsuba {version('mitsuba')}, LLVM {library.version} ({library.path})"


def _vertex() -> str:
    import renderers.vertex  # noqa: F401

    return "Preview without ray tracing and without shadows."


def _redner() -> str:
    from renderers.redner.installation import find_environment
    from renderers.redner.process import RednerProcess
    from renderers.redner.renderer import find_engine, try_out

    engine = find_engine()
    try_out(engine)
    own = isinstance(engine, RednerProcess)
    place = f", in a process of its own with {find_environment().python}." if own else "."
    only = "" if find_spec("embreex") else " Only with lightTransfer = False: the package embreex is not here."
    return f"On the CPU{place}{only}"


def _torch_cpu() -> str:
    return f"PyTorch {version('torch')}, {available_cores()} cores for this process."


def _torch_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        raise MissingPartError(
            "This PyTorch was built without CUDA, which is right where there is no NVIDIA GPU.\n"
            "With one: pip install --force-reinstall torch"
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
            [sys.executable, "-c", _DETECTORS],
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


def _open_model() -> str:
    from nextface.models import create

    model = create("open")
    return f"Ships with NextFace: {len(model.triangles)} triangles, {model.identity_size} identity components."


def _basel() -> str:
    from nextface.models import create

    create("basel2017")
    return "Loaded."


def _heic() -> str:
    if find_spec("pillow_heif") is None:
        raise MissingPartError("Run `pip install pillow-heif`.")
    return f"pillow-heif {version('pillow-heif')}."
