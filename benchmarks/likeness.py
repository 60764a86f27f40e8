"""Does the reconstruction, laid over the photo, look like the person? A detector and the pixels answer.

    python -m benchmarks.likeness --photos FOLDER [FOLDER ...] --output likeness

reconstructs every photo that has no result yet, lays the reconstruction over the photo as it was fitted,
finds the landmarks of both pictures with the same detector, and prints a table: distances between the points
of both, in per cent of the distance between the outer corners of the eyes, by part of the face; and the PSNR
over eye openings, mouth and the rest of the face's oval, whatever the mask says. `OUTPUT/sheet_*.png` shows
photo, overlay, both sets of points, and eyes and mouth enlarged, to be looked at.

Of photos whose skin was outlined by hand (`benchmarks/outlines`), a second table says how well the mask that
is found today agrees with the outlines within the oval, and the PSNR where the outlines say that the face is
seen.

    python -m benchmarks.likeness --results output/me output/you --output likeness

does the same with results that are there already.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from benchmarks.scoring.likeness import COLUMNS, Likeness, compare_faces, sheet
from benchmarks.scoring.outlines import Agreement, Outlined, agreement, outlined
from benchmarks.scoring.tables import markdown, mean
from nextface.config import Config
from nextface.errors import NextFaceError
from nextface.landmarks import Landmarks
from nextface.photos.folder import find_photos
from nextface.photos.photo import CLIPPED_LEVEL
from nextface.preparation.face_region import face_region
from nextface.runs.engine import reconstruct_with
from nextface.runs.equipment import equipped
from nextface.system.atomic import replacing
from nextface.system.progress import Silent

AREAS = ("eyes", "mouth", "rest")


def main() -> None:
    """Reconstruct what is missing, compare, and print."""
    options = _options()
    folders = list(options.results)
    try:
        if options.photos:
            folders += _reconstructed(options.photos, options.output, options.config)
    except NextFaceError as error:
        sys.exit(str(error))
    found: dict[str, Likeness] = {}
    agreements: dict[str, Agreement] = {}
    for folder in folders:
        try:
            photo, reconstruction = _pictures(folder)
            outlines = _outlines(folder, *photo.shape[:2])
            seen = None if outlines is None else outlines.skin & outlines.told
            found[folder.name] = compare_faces(photo, reconstruction, options.detector, seen)
            if outlines is not None:
                agreements[folder.name] = mask_agreement(photo, found[folder.name].points, outlines)
        except (NextFaceError, FileNotFoundError) as error:
            print(f"{folder.name}: {error}", file=sys.stderr)
            continue
        picture = options.output / f"sheet_{folder.name}.png"
        with replacing(picture) as temporary:
            cv2.imwrite(str(temporary), sheet(found[folder.name])[..., ::-1])
    if not found:
        sys.exit("There is nothing to compare.")
    with replacing(options.output / "likeness.json") as temporary:
        figures = {
            name: {
                "offsets": one.offsets,
                "psnr": one.psnr,
                **({"mask": asdict(agreements[name]), "seenPsnr": one.seen_psnr} if name in agreements else {}),
            }
            for name, one in found.items()
        }
        temporary.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(found))
    if agreements:
        print(f"\n{outline_table(found, agreements)}")


def table(found: dict[str, Likeness]) -> str:
    """A Markdown table of all photos, with their means."""
    titles = ["photo", *(f"{part}, %" for part in COLUMNS), *(f"{area}, dB" for area in AREAS)]
    rows = [
        [name, *(_written(one.offsets[part]) for part in COLUMNS), *(f"{one.psnr[area]:.1f}" for area in AREAS)]
        for name, one in found.items()
    ]
    offsets = [
        _written(mean(one.offsets[part] for one in found.values() if one.offsets[part] is not None))
        for part in COLUMNS
    ]
    rows.append(
        ["mean", *offsets, *(f"{mean(one.psnr[area] for one in found.values()):.1f}" for area in AREAS)]
    )
    return markdown(titles, rows)


def mask_agreement(photo: np.ndarray, points: np.ndarray, outlines: Outlined) -> Agreement:
    """How well what maps are refined from agrees with outlines, within the oval.

    Parameters
    ----------
    photo: [h, w, 3] uint8 sRGB, as it was fitted.
    points: [478, 2] the landmarks' pixels.
    """
    clipped = (photo >= CLIPPED_LEVEL).any(-1)
    region = face_region(photo.astype(np.float32) / 255, Landmarks("mediapipe", points), clipped)
    return agreement(region.visible, outlines, region.oval)


def outline_table(found: dict[str, Likeness], agreements: dict[str, Agreement]) -> str:
    """A Markdown table of the photos that were outlined, with their means."""
    titles = [
        "photo",
        "intersection over union",
        "skin left out, %",
        "no skin in the mask, %",
        *(f"{area} seen, dB" for area in AREAS),
    ]
    rows = [
        [
            name,
            f"{mask.overlap:.3f}",
            f"{100 * mask.lost:.1f}",
            f"{100 * mask.intruding:.1f}",
            *(_written(found[name].seen_psnr[area], "hidden", 1) for area in AREAS),
        ]
        for name, mask in agreements.items()
    ]
    masks = list(agreements.values())
    psnr = {area: [found[name].seen_psnr[area] for name in agreements] for area in AREAS}
    rows.append(
        [
            "mean",
            f"{mean(mask.overlap for mask in masks):.3f}",
            f"{100 * mean(mask.lost for mask in masks):.1f}",
            f"{100 * mean(mask.intruding for mask in masks):.1f}",
            *(f"{np.nanmean(psnr[area]):.1f}" for area in AREAS),
        ]
    )
    return markdown(titles, rows)


def _written(figure: float | None, missing: str = "not found", digits: int = 2) -> str:
    return missing if figure is None or math.isnan(figure) else f"{figure:.{digits}f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="folders of photos, or photos")
    parser.add_argument("--results", type=Path, nargs="+", default=[], help="result folders of earlier runs")
    parser.add_argument("--output", type=Path, required=True, help="folder of results and sheets")
    parser.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the runs")
    parser.add_argument("--detector", default="mediapipe", help="whose points are compared")
    options = parser.parse_args()
    if not (options.photos or options.results):
        parser.error("give --photos, --results, or both")
    return options


def _reconstructed(sources: Sequence[Path], output: Path, settings: Sequence[str]) -> list[Path]:
    """Result folders of all photos, made where they are missing."""
    folders = []
    with equipped(Config().with_overrides(settings, "--config")) as equipment:
        for source in sources:
            for photo in find_photos(source).photos if source.is_dir() else [source]:
                folder = output / photo.stem
                folders.append(folder)
                if not (folder / "metrics.json").is_file():
                    reconstruct_with(equipment, photo, folder, Silent(), time.monotonic())
    return folders


def _pictures(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The photo as it was fitted [h, w, 3] and the reconstruction [h, w, 4], 8 bits, of a result folder.

    Raises
    ------
    FileNotFoundError: if the folder holds no result.
    """
    pair = []
    for name in ("input_0.png", "reconstruction_0.png"):
        picture = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise FileNotFoundError(f"there is no {name} in {folder}")
        pair.append(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB))
    return pair[0][..., :3], pair[1]


def _outlines(folder: Path, height: int, width: int) -> Outlined | None:
    """What was outlined in the photo of a result folder, as it was fitted; None where nobody drew outlines."""
    photo = json.loads((folder / "metrics.json").read_text())["photos"][0]["photo"]
    fitted = json.loads((folder / "scene_0.json").read_text())
    return outlined(photo, np.array(fitted["photoToImage"]), height, width)


if __name__ == "__main__":
    main()
