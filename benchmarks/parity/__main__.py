"""Compare every renderer with a reference: pictures and derivatives, scene by scene.

    python -m benchmarks.parity --size 64 --samples 4096 --json parity.json

prints the table of docs/benchmarks.md. With --json, results are kept from run to run, and only what is missing
is measured; --table prints what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import renderers
from benchmarks.parity.measures import (
    INTERIOR_COSINE,
    PARAMETERS,
    Plan,
    changes,
    compare,
    derivative_error,
    derivatives,
    grown,
    loss_weights,
)
from benchmarks.parity.reference import Array, Points, Reference
from benchmarks.parity.scenes import CASES, Case
from renderers.renderer import Renderer
from renderers.settings import Settings

SIDE = 3  # points along each side of a pixel: of the unshadowed reference, and of a renderer that draws points
REFERENCE_SAMPLES = 4096
INSIDE_STEP = 6.0  # of finite differences inside an outline, where little changes: against their noise

Results = dict[str, dict[str, Any]]


def main() -> None:
    """Measure, print, and keep."""
    options = _options()
    torch.set_num_threads(1)
    results: Results = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    if not options.table:
        for name in options.scenes:
            missing = [backend for backend in options.backends if f"{name} {backend}" not in results]
            standard = Standard.of(CASES[name], options.size) if missing else None
            for backend in missing:
                assert standard is not None
                key, start = f"{name} {backend}", time.perf_counter()
                results[key] = measure(standard, backend, options)
                results[key]["seconds"] = round(time.perf_counter() - start)
                print(key, json.dumps(results[key]), flush=True)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=1))
    print(image_table(results))
    print()
    print(derivative_table(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    working = [name for name, reason in renderers.available().items() if reason is None]
    parser.add_argument("--size", type=int, default=64, help="pixels of a picture's side (default 64)")
    parser.add_argument("--samples", type=int, default=4096, help="light paths a pixel of a picture")
    parser.add_argument("--redner-samples", type=int, default=1024, help="the same for redner, which is slow")
    parser.add_argument("--gradient-size", type=int, default=48, help="pixels a side, for derivatives")
    parser.add_argument("--gradient-samples", type=int, default=512, help="light paths a pixel of each render")
    parser.add_argument("--redner-gradient-samples", type=int, default=128, help="the same for redner")
    parser.add_argument("--scenes", nargs="+", choices=CASES, default=list(CASES), metavar="SCENE")
    parser.add_argument("--backends", nargs="+", choices=working, default=working, metavar="BACKEND")
    parser.add_argument("--derivatives", nargs="*", choices=working, default=working, metavar="BACKEND")
    parser.add_argument("--json", type=Path, help="file of results, read and written")
    parser.add_argument("--table", action="store_true", help="measure nothing: print what the file holds")
    return parser.parse_args()


@dataclass(frozen=True)
class Standard:
    """What the renderers' pictures of a scene are compared with."""

    case: Case
    points: Points
    shadowed: list[Array]
    unshadowed: Array

    @classmethod
    def of(cls, case: Case, size: int) -> Standard:
        reference = Reference(case.scene(size))
        points = reference.points(SIDE)
        plain = np.concatenate([reference.unshadowed(points), points.seen.mean(-1)[..., None]], -1)
        shadowed = [reference.shadowed(REFERENCE_SAMPLES // 2, seed) for seed in (1, 2)]
        return cls(case, points, shadowed, plain)


def measure(standard: Standard, backend: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one renderer on one scene."""
    case, points = standard.case, standard.points
    samples = options.redner_samples if backend == "redner" else options.samples
    image = draw(case, backend, options.size, samples)
    compared = {"shadowed": asdict(compare(image, standard.shadowed, points))}
    if backend == "vertex" or case.convex:
        compared["unshadowed"] = asdict(compare(image, 2 * [standard.unshadowed], points))
    samples = options.redner_gradient_samples if backend == "redner" else options.gradient_samples
    differentiated = backend in options.derivatives
    errors = derivative_errors(case, backend, options.gradient_size, samples) if differentiated else {}
    return {"image": compared, "derivatives": errors}


def draw(case: Case, backend: str, size: int, samples: int) -> list[Array]:
    """Two pictures with noise of their own, of half the samples each."""
    renderer = renderers.create(backend, Settings(device="auto"))
    try:
        if renderer.shades_vertices:  # it looks at pixels' centres: average a larger picture
            image = grown(renderer.render(case.scene(SIDE * size), 1, 1)[0].numpy().astype(np.float64), SIDE)
            return [image, image]
        scene = case.scene(size)
        return [renderer.render(scene, samples // 2, seed)[0].numpy().astype(np.float64) for seed in (3, 4)]
    finally:
        renderer.close()


def derivative_errors(case: Case, backend: str, size: int, samples: int) -> dict[str, dict[str, float]]:
    """Relative errors of three derivatives, by parameter.

    Light and maps, over the whole picture. What moves outlines: over the inside of a convex shape, as
    "... inside"; and over the whole picture with gradients of visibility, as "... whole".
    """
    scene = case.scene(size)
    inside = torch.from_numpy(interior(Reference(scene).points(2))).float()[..., None]
    everywhere = torch.ones_like(inside)
    plain = renderers.create(backend, Settings(device="auto"))
    aware = renderers.create(backend, Settings(device="auto", visibility_gradients=True))
    errors: dict[str, dict[str, float]] = {}
    try:
        for parameter in PARAMETERS:
            if case.roughness is None and parameter.name in ("specular", "roughness"):
                continue
            count = samples * (1 if plain.shades_vertices else parameter.effort)
            wanted: dict[str, tuple[Tensor, Renderer, float]] = {}
            if not parameter.moves_outlines:
                wanted[parameter.name] = everywhere, plain, 1.0
            elif case.convex:
                wanted[f"{parameter.name} inside"] = inside, plain, INSIDE_STEP
            if parameter.moves_outlines and not plain.shades_vertices:
                wanted[f"{parameter.name} whole"] = everywhere, aware, 1.0
            for name, (mask, differentiated, step) in wanted.items():
                guide, change = (changes(plain, scene, parameter, Plan(count, seed, step)) for seed in (50, 51))
                loss = loss_weights(guide, mask)
                found = derivatives(differentiated, scene, parameter, loss, Plan(count, 7))
                errors[name] = asdict(derivative_error(found, guide, change, loss))
    finally:
        plain.close()
        aware.close()
    return errors


def interior(points: Points) -> Any:
    """[H, W] bool: pixels that see the surface well away from its outline."""
    return points.cosines.min(-1) > INTERIOR_COSINE


def image_table(results: Results) -> str:
    """Pictures, as a Markdown table."""
    lines = [
        "| scene | renderer | against | RMSE | noise | bias | the rest | outline | overlap |",
        "| --- | --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for key, result in results.items():
        scene, backend = key.split()
        for against, found in result["image"].items():
            figures = [found[name] for name in ("rms", "noise", "bias", "grazing_rms")]
            cells = [f"{100 * figure:.2f} %" for figure in figures]
            cells += [f"{found['outline']:.3f}", f"{found['overlap']:.4f}"]
            lines.append(f"| {scene} | {backend} | {against} | {' | '.join(cells)} |")
    return "\n".join(lines)


COLUMNS = (
    "light", "diffuse", "specular", "roughness", "vertices inside", "pose inside", "intrinsics inside",
    "vertices whole", "pose whole", "intrinsics whole",
)  # fmt: skip


def derivative_table(results: Results) -> str:
    """Derivatives, as a Markdown table."""
    lines = [f"| scene | renderer | {' | '.join(COLUMNS)} |", "| --- | --- |" + " --: |" * len(COLUMNS)]
    for key, result in results.items():
        scene, backend = key.split()
        found = result["derivatives"]
        if not found:
            continue
        cells = [
            f"{100 * found[name]['error']:.1f} ({100 * found[name]['noise']:.1f})" if name in found else "-"
            for name in COLUMNS
        ]
        lines.append(f"| {scene} | {backend} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
