"""Adam with one step size for a whole tensor, for values that lie on a surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

SPREAD = 3.0  # steps are scaled by this many root mean squares: only the strongest gradients take full steps


class UniformAdam(torch.optim.Optimizer):
    """Adam whose second moment is a mean over the tensor, not one number for each element.

    Plain Adam moves an element that feels only noise as far as one that feels a strong pull, which draws
    speckle and blocks where a map is hardly seen. With a common scale, weak gradients make small steps
    (Nicolet, Jacobson and Jakob, "Large Steps in Inverse Rendering of Geometry", 2021, use the maximum).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-12,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(parameter), square=0.0)
                state["step"] += 1
                state["mean"].lerp_(parameter.grad, 1 - first)
                state["square"] += (1 - second) * (_mean_square(parameter.grad) - state["square"])
                mean = state["mean"] / (1 - first ** state["step"])
                scale = (state["square"] / (1 - second ** state["step"])) ** 0.5
                parameter.sub_(mean, alpha=group["lr"] / (SPREAD * scale + group["eps"]))
        return loss


def _mean_square(gradient: torch.Tensor) -> float:
    """Mean square over the elements that a gradient reaches."""
    return float(gradient.square().sum() / gradient.count_nonzero().clamp(min=1))
