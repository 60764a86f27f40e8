"""What gradients of moving boundaries are made of: the picture that they move in, and the ray tracer's part.

Where a surface or a shadow ends in the picture, radiance jumps. Differentiating samples of the radiance misses
that the jump moves. For every pixel that is the integral, along the jump's curve, of the step across it times
its normal velocity (Li, Aittala, Durand and Lehtinen, "Differentiable Monte Carlo Ray Tracing through Edge
Sampling", 2018, equation 4). Points are drawn on the mesh edges that make such curves, a `Tracer` measures the
step, and torch differentiates where the points lie in the picture, by mesh and camera.

Everything is in the camera frame (x right, y down, z forward; mm) and in pixels, in float64 on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """A pinhole's picture, and what the loss says about it."""

    intrinsics: Tensor  # [3, 3] pixels; may carry gradients
    adjoint: Tensor  # [H, W, 4] derivative of the loss by radiance and coverage

    def project(self, points: Tensor) -> Tensor:
        """Where points [N, 3] lie, [N, 2] pixels."""
        image = points @ self.intrinsics.T
        return image[:, :2] / image[:, 2:]

    def motion(self, points: Tensor, motion: Tensor) -> Tensor:
        """How the pictures [N, 2] of points [N, 3] move when the points move by `motion` [N, 3], linearly."""
        image, shift = points @ self.intrinsics.T, motion @ self.intrinsics.T
        return (shift[:, :2] - image[:, :2] / image[:, 2:] * shift[:, 2:]) / image[:, 2:]

    def normal(self, points: Tensor, along: Tensor) -> Tensor:
        """Vectors [N, 2] across the pictures of tangents [N, 3], and as long as these."""
        tangent = self.motion(points, along)
        return torch.stack([tangent[:, 1], -tangent[:, 0]], 1)

    def adjoint_at(self, points: Tensor) -> Tensor:
        """The adjoint [N, 4] of the pixels in which points [N, 2] lie; 0 outside the picture."""
        height, width = self.adjoint.shape[:2]
        column, row = points.floor().unbind(-1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = torch.where(inside, row * width + column, 0).long()
        return self.adjoint.flatten(0, 1).index_select(0, index) * inside[:, None]


@dataclass(frozen=True)
class ShadowSteps:
    """What changes along lines that go past edges in a light's direction."""

    at_edge: Array  # [N, 3] reflection f cos at the edge itself; 0 where nothing is seen to change there
    below: Array  # [N, 3] the same of the surface that the line meets below the edge
    lit_side: Array  # [N] +1 where the line moved along `beside` is free, -1 where the one moved against it is
    triangle: NDArray[np.int64]  # [N] the triangle that is met, any where `below` is 0


class Tracer(Protocol):
    """What boundary gradients ask of a ray tracer."""

    def look(self, points: Array, seed: int) -> Array:
        """One light path each: radiance and coverage [N, 4] at image points [2, N / 2, 2] in pixels.

        The two points of a pair have the same random numbers.
        """
        ...

    def draw_light(self, count: int, seed: int) -> tuple[Array, Array]:
        """Directions [count, 3] to the environment, and radiance over density [count, 3] from there."""
        ...

    def shadow_steps(self, points: Array, beside: Array, directions: Array) -> ShadowSteps:
        """What the light of directions [N, 3] does at points [N, 3], across from + to - beside [N, 3]."""
        ...
