"""Robust functions of squared residuals: outliers must not bend a fit.

Each stands beside the weight that reweighted least squares gives a squared residual, its derivative.
"""

from __future__ import annotations

from torch import Tensor


def geman_mcclure(squares: Tensor, outlier: float) -> Tensor:
    """Squared residuals, which grow no further beyond `outlier` (Geman and McClure, 1987)."""
    return squares / (1 + squares / outlier**2)


def geman_mcclure_weight(squares: Tensor, outlier: float) -> Tensor:
    """The derivative of `geman_mcclure` by the squares, in [0, 1]."""
    return (1 + squares / outlier**2) ** -2


def pseudo_huber(squares: Tensor, outlier: Tensor | float) -> Tensor:
    """Squared residuals, which grow like their root beyond `outlier`."""
    return 2 * outlier**2 * ((1 + squares / outlier**2).sqrt() - 1)


def pseudo_huber_weight(squares: Tensor, outlier: Tensor | float) -> Tensor:
    """The derivative of `pseudo_huber` by the squares, in [0, 1]."""
    return (1 + squares / outlier**2) ** -0.5
