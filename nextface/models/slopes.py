"""How a face model that is not linear moves with its coefficients, around given ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nextface.models.face_model import FaceModel

STEP = 0.05  # standard deviations to either side: its square is lost, and single precision shows half of it


@torch.no_grad()
def shape_slopes(
    model: FaceModel, identity: Tensor, expression: Tensor, shown: Callable[[Tensor], Tensor] = lambda v: v
) -> Tensor:
    """Derivatives [P, 3, K + E] in mm by identity [K] and expression [E] around these, by central differences.

    Parameters
    ----------
    shown: makes of vertices [N, V, 3] the points [N, P, 3] that are asked about.
    """
    columns = []
    spread = torch.cat([torch.ones_like(identity), model.expression_prior.spread.to(expression)])
    for number, step in enumerate((STEP * spread).diag()):
        there, back = (
            shown(model.vertices(*_split(torch.cat([identity, expression]) + sign * step, len(identity))))
            for sign in (1, -1)
        )
        columns.append((there - back)[0] / (2 * STEP * spread[number]))
    return torch.stack(columns, -1)


def _split(coefficients: Tensor, shapes: int) -> tuple[Tensor, Tensor]:
    """Identity [1, K] and expression [1, E] of both in a row."""
    return coefficients[None, :shapes], coefficients[None, shapes:]
