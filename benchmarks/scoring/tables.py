"""Scores as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scoring.case import MEAN_FACE

Case = Mapping[str, Any]  # one case of the results file
Row = Mapping[str, Any]  # the scores of one of its rows

FLAT = "flat colour"  # the best single colour of each head, of which only albedo says something
FINAL = "stage 3"


@dataclass(frozen=True)
class Column:
    """A score, how it is taken from a row, and how it is written."""

    title: str
    value: Callable[[Row], float]
    written: str = "{:.2f}"


def tone_error(row: Row) -> float:
    """Degrees between the typology angles of reconstructed and true skin."""
    return abs(row["albedo"]["tone"] - row["albedo"]["true_tone"])


COLUMNS = (
    Column("median, mm", lambda row: row["geometry"]["median"]),
    Column("mean, mm", lambda row: row["geometry"]["mean"]),
    Column("metric median, mm", lambda row: row["geometry"]["metric_median"]),
    Column("metric mean, mm", lambda row: row["geometry"]["metric_mean"]),
    Column("camera, %", lambda row: 100 * abs(row["geometry"]["camera"]), "{:.1f}"),
    Column("landmarks, %", lambda row: 100 * row["landmarks"], "{:.1f}"),
    Column("albedo", lambda row: row["albedo"]["error"], "{:.3f}"),
    Column("hue", lambda row: row["albedo"]["hue"], "{:.3f}"),
    Column("ITA, degrees", tone_error, "{:.1f}"),
    Column("light, matt", lambda row: row["light"]["diffuse"], "{:.3f}"),
    Column("light, glossy", lambda row: row["light"]["glossy"], "{:.3f}"),
    Column("relit, dB", lambda row: row["relit"]["psnr"], "{:.1f}"),
    Column("relit SSIM", lambda row: row["relit"]["ssim"], "{:.3f}"),
    Column("re-render, dB", lambda row: row["psnr"], "{:.1f}"),
)


def tables(cases: Mapping[str, Case]) -> str:
    """All tables of the cases that were scored: by kind of head, by skin tone, and case by case."""
    scored = {name: case for name, case in cases.items() if "rows" in case}
    parts = [f"{name} failed: {case['error']}" for name, case in cases.items() if "error" in case]
    kinds = sorted({case["heads"] for case in scored.values()})
    for kind in [*kinds, "all"] if len(kinds) > 1 else kinds:
        chosen = [case for case in scored.values() if kind in (case["heads"], "all")]
        parts.append(f"{kind} heads, means of {len(chosen)} photos\n\n{row_table(chosen)}")
    if scored:
        parts += [f"{FINAL} by skin tone\n\n{tone_table(scored.values())}", case_table(scored)]
    return "\n\n".join(parts)


def row_table(cases: Sequence[Case]) -> str:
    """Means over the cases, row by row; and how much worse than its mean face the worst head is."""
    lines = []
    for name in cases[0]["rows"]:
        rows = [case["rows"][name] for case in cases]
        worst = max(
            row["geometry"]["median"] / case["rows"][MEAN_FACE]["geometry"]["median"] - 1
            for row, case in zip(rows, cases, strict=True)
        )
        cells = [column.written.format(mean(map(column.value, rows))) for column in COLUMNS]
        lines.append([name, *cells, f"{100 * worst:+.0f} %"])
    albedos = [case["rows"][FINAL]["albedo"] for case in cases]
    flat = {
        title: f"{mean(albedo[key] for albedo in albedos):.3f}"
        for title, key in (("albedo", "flat"), ("hue", "flat_hue"))
    }
    lines.append([FLAT, *(flat.get(column.title, "-") for column in COLUMNS), "-"])
    return markdown(["row", *(column.title for column in COLUMNS), "worst head"], lines)


def tone_table(cases: Iterable[Case]) -> str:
    """The finished run's colour by groups of skin tone."""
    cases = list(cases)
    lines = []
    for tone in ("light", "medium", "dark"):
        rows = [case["rows"][FINAL] for case in cases if case["tone"] == tone]
        if rows:
            albedo, flat = (
                mean(row["albedo"]["error"] for row in rows),
                mean(row["albedo"]["flat"] for row in rows),
            )
            relit, error = mean(row["relit"]["psnr"] for row in rows), mean(map(tone_error, rows))
            bias = mean(row["albedo"]["tone"] - row["albedo"]["true_tone"] for row in rows)
            cells = [f"{albedo:.3f}", f"{flat:.3f}", f"{error:.1f}", f"{bias:+.1f}", f"{relit:.1f}"]
            lines.append([tone, str(len(rows)), *cells])
    return markdown(["skin", "photos", "albedo", FLAT, "ITA, degrees", "of it signed", "relit, dB"], lines)


def case_table(cases: Mapping[str, Case]) -> str:
    """The finished runs, one by one."""
    lines = []
    for name, case in cases.items():
        row, mean_face = case["rows"][FINAL], case["rows"][MEAN_FACE]
        albedo = row["albedo"]
        figures = [
            f"{row['geometry']['median']:.2f}",
            f"{mean_face['geometry']['median']:.2f}",
            f"{100 * row['geometry']['camera']:+.1f}",
            f"{albedo['error']:.3f}",
            f"{albedo['flat']:.3f}",
            f"{albedo['tone']:.0f} ({albedo['true_tone']:.0f})",
            f"{row['relit']['psnr']:.1f}",
            f"{row['psnr']:.1f}",
            f"{case['seconds']:.0f}",
        ]
        lines.append([name, case["heads"], case["tone"], *figures])
    titles = [
        "median, mm",
        MEAN_FACE,
        "camera, %",
        "albedo",
        FLAT,
        "ITA (true)",
        "relit, dB",
        "re-render, dB",
        "s",
    ]
    return markdown(["photo", "heads", "skin", *titles], lines)


def case_line(name: str, case: Case) -> str:
    """The most telling scores of one finished run, in a line."""
    row, start = case["rows"][FINAL], case["rows"][MEAN_FACE]
    albedo = row["albedo"]
    return (
        f"{name}: {row['geometry']['median']:.2f} mm (mean face {start['geometry']['median']:.2f}), "
        f"albedo {albedo['error']:.3f} (flat {albedo['flat']:.3f}), "
        f"ITA {albedo['tone']:.0f} (true {albedo['true_tone']:.0f}), relit {row['relit']['psnr']:.1f} dB, "
        f"re-render {row['psnr']:.1f} dB, {case['seconds']:.0f} s"
    )


def photo_table(photos: Mapping[str, Case]) -> str:
    """Real photos: how well the picture is met, and how long it took."""
    lines = []
    for name, photo in photos.items():
        if "error" in photo:
            lines.append([name, photo["error"], "-", "-"])
            continue
        cells = [f"{photo['psnr']:.1f}", f"{photo['psnrOval']:.1f}", f"{photo['seconds']:.0f}"]
        lines.append([name, *cells])
    done = [photo for photo in photos.values() if "error" not in photo]
    if done:
        psnr, oval, seconds = (mean(photo[key] for photo in done) for key in ("psnr", "psnrOval", "seconds"))
        lines.append(["mean", f"{psnr:.1f}", f"{oval:.1f}", f"{seconds:.0f}"])
    return markdown(["photo", "PSNR over the mask, dB", "over the oval, dB", "seconds"], lines)


def scan_table(scans: Mapping[str, Mapping[str, Row]]) -> str:
    """Photos of scanned people: how far their skin is from the mean face's, and from the reconstructions'."""
    lines = []
    for name, rows in scans.items():
        start = rows[MEAN_FACE]["median"]
        for row, score in rows.items():
            lines.append(
                [
                    f"{name}, {row}",
                    f"{score['median']:.2f}",
                    f"{100 * (score['median'] / start - 1):+.0f} %",
                    f"{score['near_median']:.2f}",
                    f"{score['metric_median']:.2f}",
                    f"{score['scale']:.3f}",
                    f"{100 * score['camera']:+.1f}",
                ]
            )
    titles = [
        "photo",
        "median, mm",
        "against the mean face",
        "within 65 mm",
        "metric median, mm",
        "scale",
        "camera, %",
    ]
    return markdown(titles, lines)


def mean(values: Iterable[float]) -> float:
    """The mean of the values."""
    return float(np.mean(list(values)))


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are written already; the first column is text."""
    rule = ["---", *["--:"] * (len(titles) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, rule, *rows))
