"""Adam with one step size for a whole tensor, for values that lie on a surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SPREAD = 3.0  # steps are scaled by this many root mean squares: only the strongest gradients take full steps


@dataclass
class _Moving:
    """A parameter and what is remembered of its gradients."""

    parameter: Tensor
    rate: float
    mean: Tensor
    square: float = 0.0


class UniformAdam:
    """Adam whose second moment is a mean over the tensor, not one number for each element.

    Plain Adam moves an element that feels only noise as far as one that feels a strong pull, which draws
    speckle and blocks where a map is hardly seen. With a common scale, weak gradients make small steps
    (Nicolet, Jacobson and Jakob, "Large Steps in Inverse Rendering of Geometry", 2021, use the maximum).

    It is no `torch.optim.Optimizer`: making one imports torch's compiler, a second and 70 MB.

    Parameters
    ----------
    groups: leaves, with the learning rate of each group.
    betas: how much of the moments survives a step.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]], betas: tuple[float, float]) -> None:
        self._moving = [
            _Moving(parameter, rate, torch.zeros_like(parameter, requires_grad=False))
            for parameters, rate in groups
            for parameter in parameters
        ]
        self._betas, self._steps = betas, 0

    def zero_grad(self) -> None:
        """Forget the parameters' gradients."""
        for moving in self._moving:
            moving.parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Move every parameter that has a gradient, at `factor` times its learning rate."""
        first, second = self._betas
        self._steps += 1
        for moving in self._moving:
            gradient = moving.parameter.grad
            if gradient is None:
                continue
            moving.mean.lerp_(gradient, 1 - first)
            moving.square += (1 - second) * (_mean_square(gradient) - moving.square)
            mean = moving.mean / (1 - first**self._steps)
            scale = (moving.square / (1 - second**self._steps)) ** 0.5
            moving.parameter.sub_(mean, alpha=factor * moving.rate / (SPREAD * scale + 1e-12))


def _mean_square(gradient: Tensor) -> float:
    """Mean square over the elements that a gradient reaches."""
    return float(gradient.square().sum() / gradient.count_nonzero().clamp(min=1))
