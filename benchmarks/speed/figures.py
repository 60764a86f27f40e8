"""Arithmetic on what runs used: medians, growth with the amount of work, and extrapolation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Any

FITTING = ("stage2", "stage3")
PICTURES = ("psnrStage2", "output")  # drawn at the end of the fit's stages 2 and 3, and files written


def typical(runs: Iterable[Mapping[str, Any]], measure: str, parts: Sequence[str]) -> float | None:
    """The median over runs of what parts together used of a measure; None where a run lacks all of them."""
    sums = []
    for run in runs:
        found = [run["parts"][part][measure] for part in parts if measure in run["parts"].get(part, {})]
        if not found:
            return None
        sums.append(max(found) if measure == "peakMemoryMB" else sum(found))
    return median(sums) if sums else None


@dataclass(frozen=True)
class Growth:
    """How cost grows with work: cost ~ work^exponent."""

    exponent: float  # of the straight line through all points, on logarithmic axes
    last: float  # of the step between the two largest amounts of work, where fixed costs matter least


def growth(work: Sequence[float], cost: Sequence[float]) -> Growth:
    """The exponent of the cost of growing amounts of work.

    Raises
    ------
    ValueError: for fewer than two amounts, for one that is there twice, or for values that are not above 0.
    """
    points = sorted((math.log(amount), math.log(price)) for amount, price in zip(work, cost, strict=True))
    if len(points) < 2 or len({amount for amount, _ in points}) < len(points):
        raise ValueError(f"growth needs two or more amounts of work, each once; these are {list(work)}")
    slope = linear_regression(*zip(*points, strict=True)).slope
    (before, cheap), (after, dear) = points[-2:]
    return Growth(slope, (dear - cheap) / (after - before))


def extrapolated(few: tuple[float, float], more: tuple[float, float], count: float) -> float:
    """The cost of `count` steps on the straight line through two pairs of steps and cost.

    Noise can make more steps seem cheaper than few: the line never falls.
    """
    (low, cheap), (high, dear) = few, more
    return dear + (count - high) * max(dear - cheap, 0.0) / (high - low)
