"""Reconstruct photos of which everything is known, and score what comes out.

    python -m benchmarks.fidelity --truth ground_truth --output fidelity

prints the tables of docs/benchmarks.md. Photos are made by `python -m benchmarks.ground_truth`. Results are
kept in a JSON file case by case: another call does what is missing, and `--table` prints what is there.

    python -m benchmarks.fidelity --photos FOLDER --output fidelity

runs on real photos instead, of which only the picture itself can be compared.

    python -m benchmarks.fidelity --scans FOLDER --output fidelity

reconstructs people of whom a scan is known, each photo alone and all of a person together, and scores the
geometry.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ground_truth.lights import relighting_environments
from benchmarks.ground_truth.record import GroundTruth, cases
from benchmarks.scoring.case import DETECTOR, MEAN_FACE, fitted_mask, score_case, stages
from benchmarks.scoring.geometry import TrueFace, score_geometry
from benchmarks.scoring.scans import ScannedView, scanned_views, true_face
from benchmarks.scoring.tables import case_line, photo_table, scan_table, tables
from nextface.config import Config
from nextface.errors import NextFaceError
from nextface.person.reconstruction import Reconstruction
from nextface.photos.folder import find_photos
from nextface.runs.engine import reconstruct_shared, reconstruct_with
from nextface.runs.equipment import Equipment, equipped
from nextface.runs.threads import renderer_threads
from nextface.system.atomic import replacing
from nextface.system.progress import Silent
from renderers.mitsuba.renderer import MitsubaRenderer

SETS = ("reported", "tuning", "all")


def main() -> None:
    """Run, score, keep and print."""
    options = _options()
    results = Results.read(options.json or options.output / "fidelity.json")
    try:
        if not options.table:
            results.made_with(options.config)
            with equipped(Config().with_overrides(options.config, "--config")) as equipment:
                if options.truth:
                    _score_truth(options, equipment, results)
                if options.photos:
                    _run_photos(options, equipment, results)
                if options.scans:
                    _score_scans(options, equipment, results)
    except NextFaceError as error:
        sys.exit(str(error))
    shown = {name: case for name, case in results.cases.items() if _wanted(name, case["reported"], options)}
    if shown:
        print(tables(shown))
    if results.photos:
        print(photo_table(results.photos))
    if results.scans:
        print(scan_table(results.scans))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, help="folder of ground-truth photos")
    parser.add_argument("--photos", type=Path, help="folder of real photos")
    parser.add_argument("--scans", type=Path, help="folder of people with scans and cameras")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--set", choices=SETS, default="reported", help="which ground-truth photos")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these ground-truth photos")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs")
    parser.add_argument("--json", type=Path, help="file of results, read and written (OUTPUT/fidelity.json)")
    parser.add_argument("--table", action="store_true", help="run nothing: print what the file holds")
    options = parser.parse_args()
    if not (options.truth or options.photos or options.scans or options.table):
        parser.error("give ground truth with --truth, real photos with --photos, or scans with --scans")
    return options


def _wanted(name: str, reported: bool, options: argparse.Namespace) -> bool:
    in_set = options.set == "all" or reported == (options.set == "reported")
    return in_set and (not options.only or name in options.only)


@dataclass
class Results:
    """The results file: what was measured, case by case, all with the same settings."""

    path: Path
    settings: list[str]  # KEY=VALUE, sorted
    cases: dict[str, Any]  # ground-truth photos by name
    photos: dict[str, Any]  # real photos by file name
    scans: dict[str, Any]  # photos of scanned people by person and photo

    @classmethod
    def read(cls, path: Path) -> Results:
        """What a file holds; nothing, if there is none yet."""
        stored = json.loads(path.read_text()) if path.is_file() else {}
        groups = (stored.get(group, {}) for group in ("cases", "photos", "scans"))
        return cls(path, stored.get("settings", []), *groups)

    def made_with(self, settings: Sequence[str]) -> None:
        """Note the settings of the runs.

        Raises
        ------
        NextFaceError: if there are results already that were made with others.
        """
        if (self.cases or self.photos or self.scans) and self.settings != sorted(settings):
            raise NextFaceError(
                f"The results in {self.path} were made with --config {' '.join(self.settings) or '(nothing)'}. "
                "Give the same settings, or name another file with --json."
            )
        self.settings = sorted(settings)

    def keep(self, group: dict[str, Any], name: str, result: dict[str, Any]) -> None:
        """Add a result to `cases`, `photos` or `scans`, and write the file."""
        group[name] = result
        kept = {
            "settings": self.settings,
            "cases": self.cases,
            "photos": self.photos,
            "scans": self.scans,
        }
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(kept, indent=1) + "\n")


def _missing(group: dict[str, Any], name: str) -> bool:
    """Whether a photo was never done, or failed."""
    return "error" in group.get(name, {"error": "not done"})


def _score_truth(options: argparse.Namespace, equipment: Equipment, results: Results) -> None:
    """Reconstruct and score the ground-truth photos that are wanted and missing."""
    missing = [name for name in _named(options) if _missing(results.cases, name)]
    if not missing:
        return
    config = equipment.config
    renderer = MitsubaRenderer(config.device, config.maxBounces, renderer_threads(config))
    lights = np.stack(list(relighting_environments()))
    try:
        for name in missing:
            truth = GroundTruth.load(name, options.truth)
            if not _wanted(name, truth.reported, options):
                continue
            kind = {"heads": truth.heads, "tone": truth.tone, "reported": truth.reported}
            try:
                finished = _reconstructed(equipment, truth.photo, options.output / name)
            except NextFaceError as error:
                results.keep(results.cases, name, {**kind, "error": str(error)})
                print(f"{name}: {error}", flush=True)
                continue
            started = time.monotonic()
            face, mask = TrueFace.of(truth, renderer), fitted_mask(options.output / name)
            rows = score_case(truth, face, stages(finished), mask, renderer, lights)
            took = {key: finished.metrics[key] for key in ("seconds", "secondsByPart")}
            scoring = time.monotonic() - started
            results.keep(results.cases, name, {**kind, **took, "secondsOfScoring": scoring, "rows": rows})
            print(case_line(name, results.cases[name]), flush=True)
    finally:
        renderer.close()


def _named(options: argparse.Namespace) -> list[str]:
    """The names of the ground-truth photos, or of those that --only picks.

    Raises
    ------
    NextFaceError: if there are none, or one that is picked is not there.
    """
    known = cases(options.truth)
    if not known:
        raise NextFaceError(
            f"There are no ground-truth photos in {options.truth}. Make some with "
            f"`python -m benchmarks.ground_truth {options.truth} --ict FaceXModel`."
        )
    if unknown := set(options.only or ()) - set(known):
        raise NextFaceError(
            f"There is no ground-truth photo {', '.join(sorted(unknown))} in {options.truth}; "
            f"there are {', '.join(known)}."
        )
    return options.only or known


def _run_photos(options: argparse.Namespace, equipment: Equipment, results: Results) -> None:
    """Reconstruct the real photos that are missing."""
    for photo in find_photos(options.photos).photos:
        if not _missing(results.photos, photo.name):
            continue
        try:
            metrics = _reconstructed(equipment, photo, options.output / "photos" / photo.stem).metrics
        except NextFaceError as error:
            results.keep(results.photos, photo.name, {"error": str(error)})
            print(f"{photo.name}: {error}", flush=True)
            continue
        kept = {key: metrics[key] for key in ("psnr", "psnrOval", "seconds", "secondsByPart")}
        results.keep(results.photos, photo.name, kept)
        print(f"{photo.name}: {metrics['psnr']:.1f} dB, {metrics['seconds']:.0f} s", flush=True)


def _score_scans(options: argparse.Namespace, equipment: Equipment, results: Results) -> None:
    """Reconstruct scanned people, each photo alone and all of a person together, and score their geometry."""
    people: dict[str, list[ScannedView]] = {}
    for view in scanned_views(options.scans):
        people.setdefault(view.person, []).append(view)
    if not people:
        raise NextFaceError(f"There is no folder with scan.ply and cameras.json in {options.scans}.")
    for person, views in people.items():
        names = [f"{person} {view.name}" for view in views]
        if not any(_missing(results.scans, name) for name in names):
            continue
        folder = options.output / "scans" / person
        together = reconstruct_shared(
            [view.photo for view in views], folder / "together", equipment.config, model=equipment.model
        )
        for number, (name, view) in enumerate(zip(names, views, strict=True)):
            alone = _reconstructed(equipment, view.photo, folder / view.name)
            rows = stages(alone)
            chosen = {MEAN_FACE: rows[MEAN_FACE], "alone": rows["stage 3"]}
            chosen["together"] = stages(together)["stage 3"][number]
            face = true_face(view)
            scores = {}
            for row, state in chosen.items():
                embedding = state.model.landmarks(DETECTOR)
                assert embedding is not None
                scores[row] = asdict(score_geometry(face, state, embedding))
            results.keep(results.scans, name, scores)


def _reconstructed(equipment: Equipment, photo: Path, folder: Path) -> Reconstruction:
    return reconstruct_with(equipment, photo, folder, Silent(), time.monotonic())


if __name__ == "__main__":
    main()
