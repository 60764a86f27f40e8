"""How a face model that is not linear moves with its coefficients, around given ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nextface.models.face_model import FaceModel

STEP = 0.05  # standard deviations to either side: its square is lost, and single precision shows half of it
TOGETHER = 32  # coefficients that are moved at once, each in a face of its own: bases are read once for all


@torch.no_grad()
def shape_slopes(
    model: FaceModel, identity: Tensor, expression: Tensor, shown: Callable[[Tensor], Tensor] = lambda v: v
) -> Tensor:
    """Derivatives [P, 3, K + E] in mm by identity [K] and expression [E] around these, by central differences.

    Parameters
    ----------
    shown: makes of vertices [N, V, 3] the points [N, P, 3] that are asked about.
    """
    state = torch.cat([identity, expression])
    amounts = STEP * torch.cat([torch.ones_like(identity), model.expression_prior.spread.to(expression)])
    columns = []
    for steps, amount in zip(amounts.diag().split(TOGETHER), amounts.split(TOGETHER), strict=True):
        there, back = (shown(model.vertices(*_split(state + sign * steps, len(identity)))) for sign in (1, -1))
        columns.append((there - back) / (2 * amount[:, None, None]))
    return torch.cat(columns).permute(1, 2, 0).contiguous()


def _split(coefficients: Tensor, shapes: int) -> tuple[Tensor, Tensor]:
    """Identity [N, K] and expression [N, E] of both in rows."""
    return coefficients[:, :shapes], coefficients[:, shapes:]
