"""Reconstructions of one photo in processes of their own, and what each part of them used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from benchmarks.speed.figures import extrapolated
from nextface.config import Config

ROOT = Path(__file__).parent.parent.parent

Run = dict[str, Any]
"""One run: "parts" holds "seconds", "cpuSeconds" and "peakMemoryMB" of each part."""

DEFAULT, PLAIN, SECOND = "default", "plain loops", "second call"
NOT_ENLARGED = "default, not enlarged"  # however few pixels the face has: for figures of quality
ORIGINAL, ESTIMATED = "original's settings", "original's settings, estimated"
ORIGINAL_SETTINGS: dict[str, object] = {  # iterations and samples of the system that this one follows
    "lightTransfer": False,
    "iterStep1": 2000,
    "iterStep2": 400,
    "iterStep3": 100,
    "rtTrainingSamples": 8,
    "rtSamples": 4000,
}
WAYS: dict[str, dict[str, object]] = {
    DEFAULT: {},
    PLAIN: {"lightTransfer": False},
    ORIGINAL: ORIGINAL_SETTINGS,
    ESTIMATED: ORIGINAL_SETTINGS,
    SECOND: {},
    NOT_ENLARGED: {},
}

SCALED_BY = {"stage2": "iterStep2", "stage3": "iterStep3", "psnrStage2": "rtSamples", "output": "rtSamples"}
FEW = {"iterStep2": 8, "iterStep3": 8, "rtSamples": 32}  # of two runs that an estimate is drawn from
MORE = {"iterStep2": 24, "iterStep3": 24, "rtSamples": 128}

WARM_UP = {"iterStep2": 4, "iterStep3": 4, "rtSamples": 16}  # at most: enough to fill every cache on disk
MARGIN = 1.05  # by which a photo is enlarged beyond need, lest its crop comes out a pixel short


class RunFailedError(Exception):
    """A run ended with an error; the message has its last words."""


@dataclass(frozen=True)
class Case:
    """What is measured: a photo, a size of it and of its maps, a renderer, and a way to run."""

    photo: Path
    backend: str
    size: int  # pixels, the INI key maxResolution
    maps: int  # texels a side
    way: str = DEFAULT  # a key of WAYS
    changes: tuple[str, ...] = ()  # further settings, KEY=VALUE

    @property
    def name(self) -> str:
        """What results are kept under."""
        size = f"{self.size} px, maps {self.maps}"
        return ", ".join([self.photo.name, self.backend, size, self.way, *self.changes])

    @property
    def fitted(self) -> tuple[Path, int, bool]:
        """Cases in which this agrees are fitted to the same pixels."""
        return self.photo, self.size, self.way == NOT_ENLARGED

    @property
    def settings(self) -> dict[str, object]:
        """INI keys that differ from the default; `changes` go before all others."""
        ours = {"renderer": self.backend, "maxResolution": self.size, "textureResolution": self.maps}
        return {**ours, **WAYS[self.way], **dict(change.split("=", 1) for change in self.changes)}

    def description(self) -> dict[str, Any]:
        """The case in words and numbers for the file of results."""
        return {
            "photo": self.photo.name,
            "renderer": self.backend,
            "size": self.size,
            "maps": self.maps,
            "way": self.way,
            "changes": list(self.changes),
        }


@dataclass(frozen=True)
class Enlarged:
    """A photo whose face is large enough to be measured with."""

    file: Path
    factor: float = 1.0  # by which it is larger than the case's photo


def warm_up(case: Case, photo: Enlarged, folder: Path) -> Enlarged:
    """Fill the caches on disk by a short run, and see that the face is large enough.

    NextFace never enlarges photos: where the face has fewer pixels than are asked for, the photo to measure
    with is an enlarged one.

    Parameters
    ----------
    photo: the case's photo, or what an earlier warm-up of a case with the same `fitted` gave.

    Raises
    ------
    RunFailedError: when the run fails.
    """
    full = Config().with_overrides(case.settings)
    settings = {**case.settings, **{key: min(getattr(full, key), most) for key, most in WARM_UP.items()}}
    side = max(_fitted_size(_command(photo.file, folder, settings).folder))
    if side >= case.size or case.way == NOT_ENLARGED:
        return photo
    factor = MARGIN * case.size / side
    larger = Enlarged(folder / f"{case.photo.stem}-{case.size}.png", factor)
    with Image.open(case.photo) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    size = round(factor * upright.width), round(factor * upright.height)
    upright.resize(size, Image.Resampling.BICUBIC).save(larger.file)
    _command(larger.file, folder, settings)
    return larger


def measure(case: Case, photo: Path, folder: Path) -> Run:
    """Run a case once.

    Parameters
    ----------
    photo: the case's, or an enlarged one in its place.
    folder: for result files, which later runs overwrite.

    Raises
    ------
    RunFailedError: when a run fails.
    """
    load = os.getloadavg()[0]
    if case.way == SECOND:
        measured = _second_call(photo, folder, case.settings)
    else:
        measured = _command(
            photo, folder, case.settings if case.way != ESTIMATED else {**case.settings, **MORE}
        )
    parts = measured.parts
    if case.way == ESTIMATED:
        few = _command(photo, folder, {**case.settings, **FEW}).parts
        parts = estimate(few, parts, case.settings)
    metrics = measured.metrics
    width, height = _fitted_size(measured.folder)
    return {
        "load": [load, os.getloadavg()[0]],
        "parts": parts,
        "pixels": width * height,
        "iterations": metrics["iterations"],
        "psnr": None if case.way == ESTIMATED else metrics["psnr"],
        "versions": metrics["versions"],
    }


def estimate(
    few: Mapping[str, Any], more: Mapping[str, Any], settings: Mapping[str, object]
) -> dict[str, dict[str, float]]:
    """The parts of a run with these settings, from those of runs with FEW and MORE iterations and samples."""
    full = Config().with_overrides(settings)
    parts: dict[str, dict[str, float]] = {part: dict(used) for part, used in more.items()}
    for part, key in SCALED_BY.items():
        for measure in ("seconds", "cpuSeconds"):
            pairs = (FEW[key], few[part][measure]), (MORE[key], more[part][measure])
            parts[part][measure] = extrapolated(*pairs, getattr(full, key))
    for measure in ("seconds", "cpuSeconds"):
        parts["all"][measure] = sum(used[measure] for part, used in parts.items() if part != "all")
    return parts


@dataclass(frozen=True)
class _Measured:
    """A finished reconstruction: its folder, metrics.json, and parts with "rest" and "all"."""

    folder: Path
    metrics: dict[str, Any]
    parts: dict[str, dict[str, float]]


def _command(photo: Path, output: Path, settings: Mapping[str, object]) -> _Measured:
    """Reconstruct a photo with the command line, from the process's start to its end."""
    words = ["-m", "nextface", "reconstruct", "--input", str(photo), "--output", str(output)]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    started = time.monotonic()
    usage, _ = run_python(words)
    seconds = time.monotonic() - started
    return _measured(output / photo.stem, seconds, usage.ru_utime + usage.ru_stime)


def _second_call(photo: Path, output: Path, settings: Mapping[str, object]) -> _Measured:
    """Reconstruct a photo twice in one process, and look at the second time."""
    words = ["-m", "benchmarks.speed.second_call", str(photo), str(output)]
    _, said = run_python([*words, *(f"{key}={value}" for key, value in settings.items())])
    used = json.loads(said.splitlines()[-1])
    return _measured(output / photo.stem, used["seconds"], used["cpuSeconds"])


def _measured(folder: Path, seconds: float, cpu_seconds: float) -> _Measured:
    metrics = json.loads((folder / "metrics.json").read_text())
    columns = (
        ("seconds", "secondsByPart"),
        ("cpuSeconds", "cpuSecondsByPart"),
        ("peakMemoryMB", "peakMemoryMBByPart"),
    )
    parts: dict[str, dict[str, float]] = {
        part: {measure: metrics[key][part] for measure, key in columns} for part in metrics["secondsByPart"]
    }
    whole = {"seconds": seconds, "cpuSeconds": cpu_seconds, "peakMemoryMB": metrics["peakMemoryMB"]}
    rest = {
        measure: whole[measure] - sum(used[measure] for used in parts.values())
        for measure in ("seconds", "cpuSeconds")
    }
    return _Measured(folder, metrics, {**parts, "rest": rest, "all": whole})


def run_python(words: Sequence[str]) -> tuple[Any, str]:
    """Run this Python with this checkout; what it used, as `os.wait4` tells, and what it printed.

    Raises
    ------
    RunFailedError: when it ends with another exit code than 0.
    """
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complained,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            last = complained.read().strip()[-2000:]
            raise RunFailedError(f"exit code {process.returncode} of python {' '.join(words)}\n{last}")
        return usage, said.read()


def _fitted_size(folder: Path) -> tuple[int, int]:
    """Width and height of the photo as it was fitted."""
    with Image.open(folder / "input_0.png") as fitted:
        return fitted.size
