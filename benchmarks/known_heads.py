"""Keep ground-truth photos that are small enough for the tests: the picture, and the true skin near the nose.

    python -m benchmarks.ground_truth truth --ict FaceXModel --size 256 --only bent_light_0 bent_medium_0 ...
    python -m benchmarks.known_heads truth tests/data/known_heads

A head is NAME.jpg and NAME.npz: lengths from the nose's tip in hundredths of a millimetre, and that tip in the
camera frame.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.ground_truth.record import GroundTruth, cases
from benchmarks.scoring.geometry import TrueFace
from renderers.mitsuba.renderer import MitsubaRenderer

POINTS = 2000  # of a face, enough for medians to 0.01 mm
UNIT = 0.01  # mm
UNKNOWN = np.iinfo(np.int16).min


@dataclass(frozen=True)
class KnownHead:
    """A photo and the face in it."""

    photo: Path
    face: TrueFace

    @property
    def name(self) -> str:
        """The photo's name without its ending."""
        return self.photo.stem

    def save(self, folder: Path) -> None:
        """Write NAME.jpg and NAME.npz into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.photo, folder / self.photo.name)
        face = self.face
        some = np.random.default_rng(0).permutation(len(face.points))[:POINTS]
        np.savez_compressed(
            folder / f"{self.name}.npz",
            points=_counted(face.points[some] - face.nose_tip),
            landmarks=_counted(face.landmarks - face.nose_tip),
            nose_tip=face.nose_tip,
        )


def known_heads(folder: Path) -> Iterator[KnownHead]:
    """The heads of a folder, by name."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as stored:
            tip = stored["nose_tip"]
            points, landmarks = (_measured(stored[name]) + tip for name in ("points", "landmarks"))
        yield KnownHead(path.with_suffix(".jpg"), TrueFace(points, tip, landmarks))


def _counted(lengths: np.ndarray) -> np.ndarray:
    """Lengths in mm as int16 numbers of `UNIT`s; NaN as `UNKNOWN`."""
    return np.where(np.isnan(lengths), UNKNOWN, np.round(lengths / UNIT)).astype(np.int16)


def _measured(numbers: np.ndarray) -> np.ndarray:
    """The inverse of `_counted`."""
    return np.where(numbers == UNKNOWN, np.nan, numbers * UNIT)


def main() -> None:
    """Keep all cases of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, help="folder of ground-truth photos")
    parser.add_argument("folder", type=Path, help="where NAME.jpg and NAME.npz go")
    given = parser.parse_args()
    caster = MitsubaRenderer("cpu")
    try:
        for name in cases(given.truth):
            truth = GroundTruth.load(name, given.truth)
            KnownHead(truth.photo, TrueFace.of(truth, caster)).save(given.folder)
    finally:
        caster.close()


if __name__ == "__main__":
    main()
