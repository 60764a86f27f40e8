#!/usr/bin/env python3
"""Make the README's pictures of the bundled portrait anew, from what is in the repository alone.

    .venv/bin/python tools/make_gallery.py [RESULT_DIR]

Without a result folder, the portrait is reconstructed first, with the default settings. Into docs/images/ go:

    result.png    the panels of a result folder
    gallery.jpg   photo and fit; the head turned, in other light, with other expressions: ray-traced
    report.jpg    the report in a browser, as tests/helpers/results/browser.py starts it

tools/compare_programs.py draws the same head in other programs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import renderers
from nextface import reconstruct
from nextface.export.films.moves import resized, with_expression, with_head_turned
from nextface.export.pictures import encode, over_backdrop
from nextface.export.report.page import REPORT, write_report
from nextface.export.saved.result import SavedResult, load_result
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Environment, Scene
from nextface.scene.lighting import positive_kernel, scale_bands, sh_basis
from renderers.renderer import Renderer

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "nextface" / "data" / "astronaut.png"
IMAGES = ROOT / "docs" / "images"
SIDE = 300  # pixels of a picture in the gallery
SAMPLES = 256
WINDOW = [((-1.0, 0.25, 0.35), (0.86, 0.95, 1.0), 1.0), ((1.0, 0.0, 0.5), (1.0, 0.95, 0.9), 0.12)]
SUNSET = [((1.0, 0.12, 0.3), (1.0, 0.55, 0.25), 1.0), ((0.0, 1.0, 0.1), (0.35, 0.5, 1.0), 0.4)]
AT_REST: dict[str, float] = {}
SURPRISE = {
    "browInnerUp": 0.9,
    "browOuterUpLeft": 0.8,
    "browOuterUpRight": 0.8,
    "jawOpen": 0.45,
    "eyeWideLeft": 0.8,
}
SURPRISE |= {"eyeWideRight": 0.8, "mouthFunnel": 0.4}


@torch.no_grad()
def main() -> None:
    """Make every picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else reconstruct(PORTRAIT, name).folder
        assert folder is not None, "a run that ended well has written its folder"
        result = load_result(folder)
        with Image.open(folder / "render_0.png") as panels:
            panels.save(IMAGES / "result.png", optimize=True)
        renderer = renderers.create("mitsuba")
        row = np.concatenate(list(gallery(result, renderer)), 1)
        Image.fromarray(row).save(IMAGES / "gallery.jpg", quality=88)
        browse(result)


def drawn(scene: Scene, renderer: Renderer) -> np.ndarray:
    """A picture [h, w, 3] of a scene, 8-bit sRGB."""
    return over_backdrop(encode(renderer.render(scene, SAMPLES, 0)[0]))


def gallery(result: SavedResult, renderer: Renderer) -> Iterator[np.ndarray]:
    """The pictures of the gallery, each of SIDE x SIDE pixels."""
    person = result.reconstruction
    scene = resized(person.scene(), SIDE)
    yield np.asarray(Image.fromarray(result.picture("input")).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    yield drawn(scene, renderer)
    yield drawn(with_head_turned(scene, 0.45), renderer)
    for lamps in (WINDOW, SUNSET):
        yield drawn(replace(with_head_turned(scene, -0.3), environment=lit(scene, lamps)), renderer)
    for mood in (AT_REST, SURPRISE):
        yield drawn(resized(expressed(person, mood).scene(), SIDE), renderer)


def lit(scene: Scene, lamps: list[tuple[tuple[float, ...], tuple[float, ...], float]]) -> Environment:
    """Soft lamps (direction, colour, strength), together as bright as a scene's own light."""
    ours = scene.environment.light
    bands = scene.environment.bands
    total = torch.zeros_like(ours)
    for direction, colour, strength in lamps:
        towards = torch.nn.functional.normalize(torch.tensor([direction], dtype=torch.float64), dim=-1)
        lobe = scale_bands(sh_basis(towards, bands).mT[None], positive_kernel(bands)).to(ours)
        total += lobe * torch.tensor(colour) * strength
    return Environment(total * (ours[:, 0].mean() / total[:, 0].mean()))


def expressed(person: Reconstruction, mood: dict[str, float]) -> Reconstruction:
    """The person with an expression of some coordinates."""
    expression = person.model.expression_prior.mean.clone()
    for name, value in mood.items():
        expression[person.model.expression_names.index(name)] = value
    return with_expression(person[0], expression)


def browse(result: SavedResult) -> None:
    """The report in a browser."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers" / "results"))
    from browser import PATIENCE, chromium

    report = result.folder / REPORT
    if not report.is_file():
        write_report(result.reconstruction)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.set_default_timeout(PATIENCE)
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#viewer.ready")
        page.screenshot(path=IMAGES / "report.jpg", type="jpeg", quality=85)


if __name__ == "__main__":
    main()
