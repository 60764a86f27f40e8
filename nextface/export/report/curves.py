"""Loss curves as points of a small drawing, loss upwards on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEFT, RIGHT, TOP, BOTTOM = 40, 310, 14, 150  # of the drawing, where report.html.j2 draws the axes
MOST_POINTS = 400
LEAST_LOSS = 1e-9


@dataclass(frozen=True)
class Curve:
    """One stage's losses, drawn."""

    title: str
    points: str  # as a polyline of SVG has them
    first: str
    last: str
    least: str  # at the lower end of the axis
    most: str
    count: int  # iterations


def loss_curve(title: str, losses: Sequence[float]) -> Curve:
    """The curve of one loss or more."""
    heights = [math.log(max(loss, LEAST_LOSS)) for loss in losses]
    low, high = min(heights), max(heights)
    every = -(-len(losses) // MOST_POINTS)
    kept = [*range(0, len(losses) - 1, every), len(losses) - 1]
    across = [LEFT + (RIGHT - LEFT) * number / max(len(losses) - 1, 1) for number in kept]
    down = [BOTTOM - (BOTTOM - TOP) * (heights[number] - low) / max(high - low, 1e-12) for number in kept]
    return Curve(
        title,
        " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True)),
        f"{losses[0]:.3g}",
        f"{losses[-1]:.3g}",
        f"{min(losses):.3g}",
        f"{max(losses):.3g}",
        len(losses),
    )
