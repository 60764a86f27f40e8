"""What runs used, as Markdown tables. Figures are medians over the runs of a case."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.speed.figures import FITTING, PICTURES, growth, typical
from benchmarks.speed.runs import DEFAULT, ESTIMATED, ORIGINAL, PLAIN

Entry = Mapping[str, Any]
"""A measured case: its description, "enlarged" and "runs"."""

PARTS: dict[str, tuple[str, ...]] = {
    "stage 1": ("stage1",),
    "stage 2": ("stage2",),
    "stage 3": ("stage3",),
    "pictures, files": PICTURES,
    "the rest": ("rest",),
    "all": ("all",),
}
LABELS = ("photo", "renderer", "size", "maps", "way")
APART = "measured in another call: the machine may have been slower"


def tables(cases: Mapping[str, Entry], iterations: Mapping[str, Any]) -> str:
    """Every table that there is something for, each under a line that says what it holds."""
    entries = list(cases.values())
    parts = {
        "CPU-seconds (and seconds) of each part": _part_table(entries),
        "Peak memory of each part, MB": _memory_table(entries),
        "Light transfer against the plain loops of the same renderer": _comparison(_against_plain(entries)),
        "The default against the original's iterations and samples": _comparison(_against_original(entries)),
        "Growth": _growth_table(entries),
        "Photos": _photo_table(entries),
        "CPU milliseconds of one iteration, one thread": _iteration_table(iterations),
    }
    return "\n\n".join(f"{title}:\n\n{table}" for title, table in parts.items() if table)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text; empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "| --- |" + " --: |" * (len(header) - 1)
    return "\n".join([f"| {' | '.join(header)} |", rule, *lines]) if lines else ""


def _label(entry: Entry) -> list[str]:
    way = ", ".join([entry["way"], *entry["changes"]])
    return [entry["photo"], entry["renderer"], str(entry["size"]), str(entry["maps"]), way]


def _part_table(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        runs = entry["runs"]
        cells = [
            f"{_number(typical(runs, 'cpuSeconds', parts))} ({_number(typical(runs, 'seconds', parts))})"
            for parts in PARTS.values()
        ]
        counts = [str(runs[-1]["iterations"].get(f"stage{stage}", "-")) for stage in (1, 2, 3)]
        iterations = "-" if entry["way"] == ESTIMATED else " + ".join(counts)
        loads = [load for run in runs for load in run["load"]]
        load = f"{min(loads):.1f} to {max(loads):.1f}"
        rows.append([*_label(entry), *cells, iterations, str(len(runs)), load])
    return _table([*LABELS, *PARTS, "iterations", "runs", "load"], rows)


def _memory_table(entries: Sequence[Entry]) -> str:
    """What a part needed is known where it needed more than all before: the system tells the most until now."""
    columns = {name: parts for name, parts in PARTS.items() if name not in ("the rest", "all")}
    rows = []
    for entry in entries:
        if entry["way"] == ESTIMATED:
            continue
        cells, before = [], 0.0
        for parts in columns.values():
            peak = typical(entry["runs"], "peakMemoryMB", parts) or before
            cells.append(f"{'at most ' if round(peak) <= round(before) else ''}{_number(peak, 0)}")
            before = peak
        rows.append([*_label(entry), *cells, _number(typical(entry["runs"], "peakMemoryMB", PARTS["all"]), 0)])
    return _table([*LABELS, *columns, "all"], rows)


def _same(*names: str) -> Callable[[Entry, Entry], bool]:
    return lambda a, b: all(a[name] == b[name] for name in names)


def _against_plain(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    alike = _same("photo", "renderer", "size", "maps", "changes")
    return [
        (slow, fast)
        for slow in entries
        for fast in entries
        if (slow["way"], fast["way"]) == (PLAIN, DEFAULT) and alike(slow, fast)
    ]


def _against_original(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    alike = _same("photo", "size", "maps", "changes")
    return [
        (slow, fast)
        for slow in entries
        for fast in entries
        if slow["way"] in (ORIGINAL, ESTIMATED) and fast["way"] == DEFAULT and alike(slow, fast)
    ]


def _comparison(pairs: Sequence[tuple[Entry, Entry]]) -> str:
    """How many times more the first of each pair uses than the second."""
    columns = ("stages 2 and 3, CPU-s", "times", "s", "times", "whole command, CPU-s", "times", "s", "times")
    rows = []
    for slow, fast in pairs:
        cells: list[str] = []
        for parts in (FITTING, ("all",)):
            for measure in ("cpuSeconds", "seconds"):
                more, less = (typical(entry["runs"], measure, parts) for entry in (slow, fast))
                times = None if more is None or not less else more / less
                cells += [f"{_number(more)} / {_number(less)}", f"**{_number(times)}**"]
        calls = [{run["call"] for run in entry["runs"]} for entry in (slow, fast)]
        pair = f"{slow['renderer']}, {slow['way']} / {fast['renderer']}, {fast['way']}"
        if not calls[0] & calls[1]:
            pair += f" ({APART})"
        sizes = [slow["photo"], str(slow["size"]), str(slow["maps"])]
        rows.append([pair, *sizes, *cells])
    return _table(["more / less", "photo", "size", "maps", *columns], rows)


def _growth_table(entries: Sequence[Entry]) -> str:
    """Exponents for cases that differ in nothing but pixels, or in nothing but texels."""
    rows = []
    for varied, fixed, unit in (("size", "maps", "px"), ("maps", "size", "texels a side")):
        groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
        for entry in entries:
            key = (entry["photo"], entry["renderer"], entry[fixed], entry["way"], *entry["changes"])
            groups[key].append(entry)
        for group in groups.values():
            if len(group) < 3:
                continue
            group = sorted(group, key=lambda entry: entry[varied])
            work = [
                float(entry["runs"][0]["pixels"] if varied == "size" else entry["maps"] ** 2) for entry in group
            ]
            cells = []
            for parts in (FITTING, PARTS["pictures, files"], ("all",)):
                cost = [typical(entry["runs"], "cpuSeconds", parts) or 0.0 for entry in group]
                grown = growth(work, cost)
                cells += [", ".join(map(_number, cost)), f"{grown.exponent:.2f} ({grown.last:.2f})"]
            first = group[0]
            at = f"{fixed} {first[fixed]}"
            amounts = ", ".join(str(entry[varied]) for entry in group)
            rows.append([f"{first['renderer']}, {first['way']}", f"{amounts} {unit}, {at}", *cells])
    what = ("stages 2 and 3, CPU-s", "exponent (last step)", "pictures, files, CPU-s", "exponent (last step)")
    return _table(["run", "amounts", *what, "whole command, CPU-s", "exponent (last step)"], rows)


def _photo_table(entries: Sequence[Entry]) -> str:
    """How well and how fast each photo is drawn again, where there is more than one."""
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        key = (entry["renderer"], entry["size"], entry["maps"], entry["way"], *entry["changes"])
        if entry["way"] != ESTIMATED:
            groups[key].append(entry)
    rows = []
    for group in groups.values():
        if len(group) < 2:
            continue
        figures = [
            (
                mean(math.nan if run["psnr"] is None else run["psnr"] for run in entry["runs"]),
                typical(entry["runs"], "seconds", ("all",)) or 0.0,
                typical(entry["runs"], "cpuSeconds", ("all",)) or 0.0,
            )
            for entry in group
        ]
        for entry, (psnr, seconds, cpu) in zip(group, figures, strict=True):
            rows.append([*_label(entry), f"{psnr:.2f}", _number(seconds), _number(cpu)])
        means = [mean(column) for column in zip(*figures, strict=True)]
        last = [f"**mean of {len(group)}**", *_label(group[0])[1:]]
        rows.append([*last, f"{means[0]:.2f}", _number(means[1]), _number(means[2])])
    return _table([*LABELS, "PSNR, dB", "s", "CPU-s"], rows)


def _iteration_table(iterations: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{size}, {kind}",
            _number(found["pathReplay"]),
            _number(found["transfer"]),
            f"**{_number(found['pathReplay'] / found['transfer'])}**",
        ]
        for size, kinds in iterations.items()
        for kind, found in kinds.items()
    ]
    return _table(["picture and gradients", "path replay, 8 samples", "light transfer", "times"], rows)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
