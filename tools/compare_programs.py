#!/usr/bin/env python3
"""Draw the bundled portrait's head from where the photo was taken in several programs, beside the ray tracer.

    .venv/bin/python tools/compare_programs.py [RESULT_DIR]

Without a result folder, the portrait is reconstructed first, with the default settings. What a user would open
is exported, and drawn by Blender's Cycles (from its script), by three.js (the .glb in the light's cube, with
its own materials, in a headless Chromium) and by the report's 3D view. Writes docs/images/programs.jpg: above
the pictures, below four times their difference from the ray tracer's. Prints the table of docs/export.md. Needs
Blender 3.4 or newer, Node.js with npm, and Chromium.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bundle_three import bundle, packages
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from nextface import reconstruct
from nextface.export.formats.light.cube import FACES
from nextface.export.pictures import over_black, psnr
from nextface.export.report.page import REPORT, write_report
from nextface.export.report.pictures import difference
from nextface.export.saved.result import SavedResult, load_result
from nextface.runs.exports import export

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "nextface" / "data" / "astronaut.png"
PICTURE = ROOT / "docs" / "images" / "programs.jpg"
SIDE = 320  # pixels of each picture of the figure
SAMPLES = 128  # light paths a pixel of Cycles
NEAR, FAR = 0.01, 10.0  # metres


def main() -> None:
    """Draw everywhere, measure, and write the figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else reconstruct(PORTRAIT, name).folder
        assert folder is not None, "a run that ended well has written its folder"
        result, exported = load_result(folder), Path(name) / "export"
        export(result.reconstruction, ["blender", "glb", "light"], exported, "head")
        cycles = drawn_by_blender(exported / "blender")
        by_report, by_three = drawn_in_browser(result, exported)
    traced = result.picture("reconstruction")
    pictures = {"Blender, Cycles": cycles, "three.js, `.glb`": by_three, "three.js, the report": by_report}
    fitted = result.picture("mask") > 0
    print("| program | over the fitted skin | over the whole head | mean colour difference on the skin |")
    print("| --- | --- | --- | --- |")
    for what, picture in pictures.items():
        both = (traced[..., 3] == 255) & (picture[..., 3] == 255)
        ours, theirs = over_black(traced), over_black(picture)
        apart = deltaE_ciede2000(rgb2lab(ours), rgb2lab(theirs))[both & fitted].mean()
        near = [psnr(ours, theirs, both & mask) for mask in (fitted, both)]
        print(f"| {what} | {near[0]:.1f} dB | {near[1]:.1f} dB | {apart:.2f} |")
    figure(result.picture("input"), traced, list(pictures.values())).save(PICTURE, quality=85)


def figure(photo: np.ndarray, traced: np.ndarray, pictures: list[np.ndarray]) -> Image.Image:
    """The ray tracer's picture and the others [h, w, 4]; below the photo and the differences."""
    above = [over_black(picture) for picture in (traced, *pictures)]
    below = [photo]
    for picture in pictures:
        both = ((traced[..., 3] == 255) & (picture[..., 3] == 255))[..., None]
        below.append(difference(over_black(traced) * both, over_black(picture) * both))
    sheet = Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in (above, below)]))
    return sheet.resize(
        (SIDE * len(above), 2 * SIDE * photo.shape[0] // photo.shape[1]), Image.Resampling.LANCZOS
    )


def drawn_by_blender(folder: Path) -> np.ndarray:
    """What Cycles makes of the exported scene: [h, w, 4] 8-bit sRGB."""
    target = folder / "cycles.png"
    words = ["blender", "--background", "--factory-startup", "--python-exit-code", "1"]
    words += [
        "--python",
        str(folder / "open_scene.py"),
        "--",
        "--render",
        str(target),
        "--samples",
        str(SAMPLES),
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    with Image.open(target) as image:
        return np.asarray(image)


def drawn_in_browser(result: SavedResult, exported: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the report's 3D view shows, and what three.js makes of the .glb: [h, w, 4] 8-bit sRGB."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers" / "results"))
    from browser import PATIENCE, chromium, photo_frame

    report = result.folder / REPORT
    if not report.is_file():
        write_report(result.reconstruction)
    script = exported / "gltf_view.js"
    with packages() as folder:
        bundle(folder, "gltf_view.js", script, "GltfView")
    height, width = result.picture("reconstruction").shape[:2]
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.set_default_timeout(PATIENCE)
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#viewer.ready")
        shown = photo_frame(page, width, height)
        page = browser.new_page()
        page.add_script_tag(path=script)
        address = page.evaluate("told => GltfView.draw(told)", told_of(result, exported))
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return shown, np.asarray(image.convert("RGBA"))


def told_of(result: SavedResult, exported: Path) -> dict[str, Any]:
    """What `draw` of tools/three/gltf_view.js is told: the exported files, and the photo's camera."""
    scene = json.loads((exported / "blender" / "scene.json").read_text())
    width, height, lens = scene["width"], scene["height"], np.array(scene["K"])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = scene["headToCamera"], np.array(scene["translation"]) / 1000
    view[1:3] *= -1  # OpenCV's camera looks along z, y down
    projection = np.zeros((4, 4))
    projection[0, :3] = 2 * lens[0, 0] / width, -2 * lens[0, 1] / width, 1 - 2 * lens[0, 2] / width
    projection[1, 1:3] = 2 * lens[1, 1] / height, 2 * lens[1, 2] / height - 1
    projection[2, 2:] = (NEAR + FAR) / (NEAR - FAR), 2 * NEAR * FAR / (NEAR - FAR)
    projection[3, 2] = -1
    return {
        "glb": as_address(exported / "head.glb"),
        "faces": [as_address(exported / "light" / f"cube_{face}.hdr") for face in FACES],
        "view": view.flatten().tolist(),
        "projection": projection.flatten().tolist(),
        "width": width,
        "height": height,
    }


def as_address(file: Path) -> str:
    """A file as an address that holds it."""
    return f"data:application/octet-stream;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


if __name__ == "__main__":
    main()
