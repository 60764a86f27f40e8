"""Measure how long reconstructions take, what processor time and memory they use, and how that grows.

    python -m benchmarks.speed --json speed.json

reconstructs the bundled portrait at 256 and 512 pixels with each renderer, through the command line and in
fresh processes with caches on disk: with the default settings, and where these use light transfer, with the
plain ray-traced loops as well. Prints the tables of docs/benchmarks.md. With --json, results are kept from run
to run, and only what is missing is measured; --table prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import renderers
from benchmarks.speed.runs import (
    DEFAULT,
    ESTIMATED,
    NOT_ENLARGED,
    ORIGINAL,
    PLAIN,
    ROOT,
    SECOND,
    Case,
    Enlarged,
    RunFailedError,
    measure,
    run_python,
    warm_up,
)
from benchmarks.speed.tables import tables
from nextface.config import Config
from nextface.photos.folder import find_photos
from nextface.system.threads import available_cores

PORTRAIT = ROOT / "nextface" / "data" / "astronaut.png"
DEFAULT_SIZE = Config().maxResolution
SIZES = (256, 512, 1024)  # of growth, pixels
MAPS = (256, 512, 1024, 2048)  # of growth, texels a side

Results = dict[str, Any]


def main() -> None:
    """Measure, keep and print; exit code 1 when a case failed."""
    options = _options()
    results = _kept(options.json, any_machine=options.table)
    failed: list[str] = []
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            failed = _measure_all(options, results, Path(folder))
    print(tables(results["cases"], results["iterations"]))
    if failed:
        sys.exit("These failed, for the reasons printed above:\n" + "\n".join(failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Config()
    working = [name for name, reason in renderers.available().items() if reason is None]
    quick = [name for name in working if name != "redner"]
    parser.add_argument("--photo", type=Path, default=PORTRAIT, help="default: the bundled portrait")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        default=[DEFAULT_SIZE, 512],
        metavar="PIXELS",
        help="the runs asked for below take the first; none leaves all but those out",
    )
    parser.add_argument("--maps", type=int, default=default.textureResolution, metavar="TEXELS")
    parser.add_argument(
        "--backends",
        nargs="+",
        choices=working,
        default=quick,
        metavar="BACKEND",
        help="default: all that work but redner, which takes minutes a run",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one INI key; repeatable"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of a case, whose median counts (default 3)"
    )
    parser.add_argument("--growth", action="store_true", help="also at more sizes of picture and maps")
    parser.add_argument(
        "--original", action="store_true", help="also redner with the original's iterations and samples, once"
    )
    parser.add_argument(
        "--estimate", action="store_true", help="with --original: extrapolate that from a few iterations"
    )
    parser.add_argument(
        "--second-call", action="store_true", help="also the second reconstruction in one process"
    )
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="also every photo of a folder, once")
    parser.add_argument("--iteration", action="store_true", help="also one iteration by itself")
    parser.add_argument("--json", type=Path, help="file of results, read and written")
    parser.add_argument("--table", action="store_true", help="measure nothing: print what the file holds")
    options = parser.parse_args()
    if options.estimate and not options.original:
        parser.error("--estimate goes with --original")
    if options.table and not options.json:
        parser.error("--table needs --json FILE")
    return options


def _kept(path: Path | None, any_machine: bool) -> Results:
    """The results in a file, or none.

    Raises
    ------
    SystemExit: when they are another machine's, and that matters.
    """
    here = {"processor": _processor(), "cores": available_cores(), "system": platform.platform()}
    if path is None or not path.is_file():
        return {"machine": here, "cases": {}, "iterations": {}}
    results: Results = json.loads(path.read_text())
    if results["machine"] != here and not any_machine:
        sys.exit(f"{path} holds results of another machine ({results['machine']}). Give another file.")
    return results


def _processor() -> str:
    """The processor's name; on Linux, Python does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _wanted(options: argparse.Namespace) -> dict[Case, int]:
    """The cases to measure, and how often each."""
    size = options.sizes[0] if options.sizes else DEFAULT_SIZE
    first = Case(options.photo, Config().renderer, size, options.maps, DEFAULT, tuple(options.set))
    wanted: dict[Case, int] = {}
    for backend in options.backends:
        case = replace(first, backend=backend)
        cases = [replace(case, size=size) for size in options.sizes]
        cases += [replace(each, way=PLAIN) for each in cases]
        if options.growth:
            cases += [replace(case, size=size) for size in SIZES]
            cases += [replace(case, maps=maps) for maps in MAPS]
        if options.second_call:
            cases.append(replace(case, way=SECOND))
        wanted.update(dict.fromkeys(cases, options.repeats))
        if options.photos:
            photos = find_photos(options.photos).photos
            wanted.update({replace(case, photo=photo, way=NOT_ENLARGED): 1 for photo in photos})
    if options.original:
        wanted.setdefault(first, options.repeats)
        wanted[replace(first, backend="redner", way=ESTIMATED if options.estimate else ORIGINAL)] = 1
    return wanted


def _measure_all(options: argparse.Namespace, results: Results, folder: Path) -> list[str]:
    """Add what is missing to the results; the names of cases that failed.

    Cases take turns, so that a machine that is busier for a while does not make one of them slow.
    """
    call = datetime.now().astimezone().isoformat(timespec="seconds")
    wanted = _wanted(options)
    photos: dict[tuple[Path, int, bool], Enlarged] = {}
    warm: set[Case] = set()
    failed: list[str] = []
    for repeat in range(max(wanted.values(), default=0)):
        for case, repeats in wanted.items():
            known = results["cases"].get(case.name, {}).get("runs", [])
            if not len(known) <= repeat < repeats or case.name in failed:
                continue
            try:
                if case not in warm:
                    known_photo = photos.get(case.fitted, Enlarged(case.photo))
                    photos[case.fitted] = warm_up(case, known_photo, folder)
                    warm.add(case)
                photo = photos[case.fitted]
                run = {"call": call, **measure(case, photo.file, folder)}
            except RunFailedError as error:
                print(f"{case.name} failed: {error}", file=sys.stderr, flush=True)
                failed.append(case.name)
                continue
            entry = {**case.description(), "enlarged": photo.factor, "runs": []}
            results["cases"].setdefault(case.name, entry)["runs"].append(run)
            print(f"{case.name}: {json.dumps(run['parts']['all'])}, load {run['load']}", flush=True)
            _keep(results, options.json)
    for size in (options.sizes or [DEFAULT_SIZE]) if options.iteration else ():
        name = f"{size} px"
        if name in results["iterations"]:
            continue
        try:
            _, said = run_python(["-m", "benchmarks.speed.iteration", "--size", str(size)])
        except RunFailedError as error:
            print(f"an iteration at {name} failed: {error}", file=sys.stderr, flush=True)
            failed.append(f"an iteration at {name}")
            continue
        results["iterations"][name] = json.loads(said)
        _keep(results, options.json)
    return failed


def _keep(results: Results, path: Path | None) -> None:
    """Write the results, whole or not at all."""
    if path is not None:
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.write_text(json.dumps(results, indent=1))
        os.replace(unfinished, path)


if __name__ == "__main__":
    main()
