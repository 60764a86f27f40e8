"""Normal equations of least squares in which several photos share some of their unknowns.

Every photo has the same number of unknowns, the shared ones first. A photo's own unknowns are eliminated (the
Schur complement), so cost and memory grow linearly with the number of photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ACTIVE_SET_ROUNDS = 4  # of finding out which unknowns end at a bound


@dataclass
class NormalEquations:
    """Sums J^T J and J^T r over rows of residuals r with derivatives J, for U unknowns.

    Slopes and residuals may be float32; products and sums are float64. Sums over 3,500 rows in float32 would be
    off by 3e-7 of the columns' lengths, and take half the time.
    """

    matrix: Tensor  # [U, U] float64
    gradient: Tensor  # [U] float64

    @classmethod
    def zeros(cls, unknowns: int, device: torch.device | str = "cpu") -> NormalEquations:
        """No rows yet; those to come lie on `device`."""
        matrix = torch.zeros(unknowns, unknowns, dtype=torch.float64, device=device)
        return cls(matrix, matrix.new_zeros(unknowns))

    def cpu(self) -> NormalEquations:
        """The same where `solve` wants them: one copy, whatever the number of blocks."""
        return NormalEquations(self.matrix.cpu(), self.gradient.cpu())

    def add(self, slopes: Tensor, residuals: Tensor, first: int = 0) -> None:
        """Count in residuals [R] with slopes [R, C] in the C unknowns from `first` on."""
        self.add_block([(first, slopes)], residuals)

    def add_block(self, blocks: Sequence[tuple[int, Tensor]], residuals: Tensor) -> None:
        """Count in residuals [R] whose slopes [R, C] lie in several places, each given by its first unknown."""
        exact = [(first, slopes.double()) for first, slopes in blocks]
        residuals = residuals.double()
        for place, (row, left) in enumerate(exact):
            rows = slice(row, row + left.shape[1])
            self.gradient[rows] += left.T @ residuals
            for column, right in exact[place:]:
                product = left.T @ right
                columns = slice(column, column + right.shape[1])
                self.matrix[rows, columns] += product
                if column != row:
                    self.matrix[columns, rows] += product.T


def solve(
    photos: Sequence[NormalEquations],
    shared: int,
    damping: float,
    lower: Sequence[Tensor],
    upper: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The steps of the shared unknowns [shared] and of each photo's own that lessen the squares most.

    Parameters
    ----------
    shared: how many of the unknowns, the first, the photos share.
    damping: Levenberg and Marquardt's, relative to the diagonal.
    lower, upper: [U - shared] for each photo, within which its own unknowns' steps stay.
    """
    held = [torch.zeros(len(low), dtype=torch.bool) for low in lower]
    steps = [torch.zeros(len(low)).double() for low in lower]
    person = torch.zeros(shared).double()
    for _ in range(ACTIVE_SET_ROUNDS):
        person, steps = _free_steps(photos, shared, damping, held, steps)
        changed = False
        for photo, (low, high) in enumerate(zip(lower, upper, strict=True)):
            beyond = ((steps[photo] < low) | (steps[photo] > high)) & ~held[photo]
            steps[photo] = steps[photo].clamp(low, high)
            held[photo] = held[photo] | beyond
            changed |= bool(beyond.any())
        if not changed:
            break
    return person, steps


def _free_steps(
    photos: Sequence[NormalEquations],
    shared: int,
    damping: float,
    held: Sequence[Tensor],
    steps: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The steps of all unknowns but those held, which take the steps that are given."""
    whole, right = torch.zeros(shared, shared).double(), torch.zeros(shared).double()
    eliminated = []
    for equations, stays, fixed in zip(photos, held, steps, strict=True):
        matrix = equations.matrix.clone()
        diagonal = matrix.diagonal()
        diagonal += damping * diagonal + 1e-12 * diagonal.max()
        known = torch.where(stays, fixed, 0)
        gradient = equations.gradient + matrix[:, shared:] @ known
        own, between = matrix[shared:, shared:].clone(), matrix[shared:, :shared].clone()
        own[stays], own[:, stays], between[stays] = 0, 0, 0
        own.diagonal()[stays] = 1
        mine = torch.where(stays, -known, gradient[shared:])
        solved = torch.linalg.solve(own, torch.cat([between, mine[:, None]], 1))
        whole += matrix[:shared, :shared] - between.T @ solved[:, :-1]
        right += gradient[:shared] - between.T @ solved[:, -1]
        eliminated.append(solved)
    person = -torch.linalg.solve(whole, right)
    return person, [-(solved[:, -1] + solved[:, :-1] @ person) for solved in eliminated]
