"""report.html: everything about a finished run in one file that opens by itself, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nextface.errors import MissingPartError, ResultError
from nextface.export.pictures import over_black
from nextface.export.report.curves import Curve, loss_curve
from nextface.export.report.head import head_in_numbers
from nextface.export.report.index import REPORT
from nextface.export.report.pictures import as_8_bits, data_address, difference
from nextface.export.report.templates import filled, own
from nextface.export.saved.description import Description
from nextface.export.saved.result import SavedResult
from nextface.person.reconstruction import Reconstruction
from nextface.scene.colour import srgb_to_linear
from nextface.system.atomic import replacing

SHOWN_QUANTILE = 0.98  # of the vertices' deviations: where the 3D view's scale ends

SCRIPTS = {"three": "three.min.js", "harmonics": "harmonics.js", "viewer": "viewer.js", "page": "page.js"}
LIGHTS = (
    ("photo", "The photo's"),
    ("studio", "Studio"),
    ("window", "Window"),
    ("sunset", "Sunset"),
    ("even", "Even"),
    ("pointer", "Follows the mouse"),
)
MODES = (
    ("skin", "Skin"),
    ("clay", "Light on clay"),
    ("diffuse", "Diffuse"),
    ("specular", "Specular"),
    ("roughness", "Roughness"),
    ("visibility", "Where seen"),
    ("uncertainty", "Uncertainty"),
)
MAPS = {
    "diffuse": ("Diffuse albedo", "what the skin reflects in all directions"),
    "specular": ("Specular", "F0, white is 0.08"),
    "roughness": ("Roughness", "white is rough"),
    "visibility": ("Where the maps come from", "red seen, green mirrored, blue statistical"),
}
MORE_PICTURES = {
    "uncertainty": ("Uncertainty", "standard deviation of the shape"),
    "landmarks": ("Landmarks", "what the detector found"),
    "mask": ("Mask", "white is what was fitted"),
    "environmentPreview": ("Light", "latitude-longitude; the photographer is in the middle"),
}
PARTS = {
    "stage1": "Landmarks",
    "stage2": "Statistical model",
    "psnrStage2": "Pictures between the stages",
    "stage3": "Reflectance maps",
    "output": "Writing results",
}


def write_report(reconstruction: Reconstruction) -> str:
    """Write the page of a finished run into its folder, of what lies there; returns the file's name.

    Parameters
    ----------
    reconstruction: with its `folder` and `metrics`, as a run or `load_result` returns it.

    Raises
    ------
    ResultError: if a picture of the folder is missing or damaged.
    OutputError: if the page cannot be written.
    """
    folder = reconstruction.folder
    assert folder is not None, "a reconstruction that was written"
    descriptions = [Description.read(folder / f"scene_{photo}.json") for photo in range(len(reconstruction))]
    page = report_page(SavedResult(folder, reconstruction, tuple(descriptions)))
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return REPORT


def report_page(result: SavedResult) -> str:
    """The page of a result folder, as HTML.

    Raises
    ------
    ResultError: if a picture of the folder is missing or damaged.
    """
    metrics = result.reconstruction.metrics
    photos = [_photo(result, number) for number in range(len(result.descriptions))]
    maps = [
        {"kind": kind, "title": title, "text": text, "source": data_address(result.picture(kind))}
        for kind, (title, text) in MAPS.items()
        if kind in result.descriptions[0].files
    ]
    return filled(
        "report.html.j2",
        title=photos[0]["name"] if len(photos) == 1 else f"{result.folder.name}, {len(photos)} photos",
        headline=list(_headline(metrics)),
        warnings=metrics.get("warnings", []),
        photos=photos,
        maps=maps,
        lights=LIGHTS,
        modes=[mode for mode in MODES if _is_shown(mode[0], result)],
        parts=_parts(metrics),
        facts=list(_facts(metrics)),
        curves=_curves(metrics),
        head=_head(result),
        licence=own("LICENSE.three.txt"),
        style=own("report.css"),
        scripts={name: own(file) for name, file in SCRIPTS.items()},
    )


def _is_shown(mode: str, result: SavedResult) -> bool:
    """Whether a result has what a way to show the surface shows."""
    if mode == "uncertainty":
        return result.reconstruction.shape_deviation is not None
    return mode != "visibility" or "visibility" in result.descriptions[0].files


def _photo(result: SavedResult, number: int) -> dict[str, Any]:
    """One photo's name, pictures and figures."""
    told = result.reconstruction.metrics.get("photos", [])
    figures: Mapping[str, Any] = told[number] if number < len(told) else {}
    photo, drawn = result.picture("input", number), result.picture("reconstruction", number)
    if drawn.shape != (*photo.shape[:2], 4) or photo.shape[2:] != (3,):
        raise ResultError(f"{result.file('reconstruction', number)} is no RGBA picture as large as the photo.")
    fit = over_black(drawn)
    return {
        "name": figures.get("photo") or f"{result.folder.name}, photo {number}",
        "pictures": {
            "photo": data_address(photo),
            "fit": data_address(fit),
            "difference": data_address(difference(photo, fit)),
        },
        "figures": list(_figures(figures, result.reconstruction.metrics)),
        "more": [
            {"title": title, "text": text, "source": data_address(result.picture(kind, number))}
            for kind, (title, text) in MORE_PICTURES.items()
            if kind in result.descriptions[number].files
        ],
    }


def _figures(figures: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """One photo's figures in words."""
    for key, what in {
        "psnr": "PSNR over the skin that was fitted",
        "psnrStage2": "PSNR before the maps were refined",
        "psnrOval": "PSNR over the whole oval of the face",
    }.items():
        if (value := figures.get(key)) is not None:
            yield what, f"{value:.1f} dB"
    if (share := figures.get("maskShareOfOval")) is not None:
        yield "Share of the oval that was fitted", f"{share:.0%}"
    if (deviation := metrics.get("uncertaintyMedian")) is not None:
        yield "Median uncertainty of the face's shape", f"{deviation:.1f} mm"


def _headline(metrics: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The figures that come first."""
    if (psnr := metrics.get("psnr")) is not None:
        yield {"value": f"{psnr:.1f} dB", "what": "PSNR over the skin"}
    if (seconds := metrics.get("seconds")) is not None:
        yield {"value": f"{seconds:.0f} s", "what": "on this machine"}
    if (deviation := metrics.get("uncertaintyMedian")) is not None:
        yield {"value": f"{deviation:.1f} mm", "what": "median uncertainty of the shape"}
    if backend := metrics.get("backend"):
        yield {"value": backend, "what": "drew it"}


def _parts(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each part of the run took."""
    seconds: Mapping[str, float] = metrics.get("secondsByPart", {})
    processor: Mapping[str, float] = metrics.get("cpuSecondsByPart", {})
    longest = max(seconds.values(), default=1.0) or 1.0
    return [
        {
            "name": PARTS.get(part, part),
            "share": round(100 * value / longest, 1),
            "seconds": f"{value:.1f}",
            "processor": f"{processor[part]:.1f}" if part in processor else "",
        }
        for part, value in seconds.items()
    ]


def _facts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What else is known of the run."""
    if backend := metrics.get("backend"):
        shadows = "with shadows" if metrics.get("castsShadows") else "without shadows"
        yield "Renderer", f"{backend}, {shadows}"
    for key, what in {"device": "Device", "seed": "Seed"}.items():
        if key in metrics:
            yield what, str(metrics[key])
    if (memory := metrics.get("peakMemoryMB")) is not None:
        yield "Most memory", f"{memory:.0f} MB"
    if iterations := metrics.get("iterations"):
        yield (
            "Iterations",
            ", ".join(f"{PARTS.get(part, part).lower()} {count}" for part, count in iterations.items()),
        )
    if losses := {part: loss for part, loss in metrics.get("losses", {}).items() if loss is not None}:
        yield (
            "Last losses",
            ", ".join(f"{PARTS.get(part, part).lower()} {loss:.3g}" for part, loss in losses.items()),
        )
    if versions := metrics.get("versions"):
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _curves(metrics: Mapping[str, Any]) -> list[Curve]:
    """The loss of each stage, where the run kept them."""
    return [
        loss_curve(PARTS.get(stage, stage), losses)
        for stage, losses in metrics.get("lossCurves", {}).items()
        if losses
    ]


def _head(result: SavedResult) -> dict[str, Any] | None:
    """What the 3D view draws; nothing for a model without UVs, which has no maps."""
    if not {"diffuse", "specular", "roughness"} <= result.descriptions[0].files.keys():
        return None
    reconstruction = result.reconstruction
    shadows = bool(reconstruction.metrics.get("castsShadows"))
    try:
        head = head_in_numbers(reconstruction, shadows)
    except MissingPartError:  # what finds shadows is not for every machine
        head = head_in_numbers(reconstruction, shadows=False)
    pixels = {kind: as_8_bits(result.picture(kind)) / 255 for kind in ("diffuse", "specular", "roughness")}
    head["means"] = {
        "diffuse": srgb_to_linear(pixels["diffuse"][..., :3]).reshape(-1, 3).mean(0).tolist(),
        "specular": float(pixels["specular"].mean()),
        "roughness": float(pixels["roughness"].mean()),
    }
    deviation = reconstruction.shape_deviation
    head["largestDeviation"] = 1.0 if deviation is None else float(np.quantile(deviation.cpu(), SHOWN_QUANTILE))
    return head
