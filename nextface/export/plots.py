"""Plots of losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nextface.system.atomic import replacing


def plot_losses(path: Path, losses: Sequence[float], stage: int) -> None:
    """Save a stage's loss over its iterations as a PNG with a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4))
    figure.subplots_adjust(0.13, 0.12, 0.97, 0.92)  # a layout that is computed would cost more than the drawing
    axes = figure.add_subplot(title=f"stage {stage}", xlabel="iteration", ylabel="loss", yscale="log")
    axes.plot([max(loss, 1e-9) for loss in losses])
    axes.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
