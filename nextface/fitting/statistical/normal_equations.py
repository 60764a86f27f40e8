"""Normal equations of photos that share some of their unknowns, and the damped steps that they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.fitting.terms.elimination import GroupEquations, HeldUnknowns, minimiser
from nextface.person.sharing import Group

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
    sizes: Sequence[Mapping[Group, int]],
    damping: float,
    bounds: Mapping[Group, tuple[Tensor, Tensor]],
) -> dict[Group, Tensor]:
    """The steps of each group's unknowns that lessen the squares most.

    Parameters
    ----------
    sizes: for each photo, how many unknowns the groups have in whose order its unknowns lie.
    damping: Levenberg and Marquardt's, relative to the diagonal.
    bounds: least and largest steps of a group's unknowns; groups that are left out have none.
    """
    held: dict[Group, HeldUnknowns] = {}
    steps: dict[Group, Tensor] = {}
    for _ in range(ACTIVE_SET_ROUNDS):
        pairs = zip(photos, sizes, strict=True)
        steps = minimiser((_damped(one, damping, groups) for one, groups in pairs), held)
        changed = False
        for group, (low, high) in bounds.items():
            known, step = held.get(group), steps[group]
            stays = torch.zeros(len(step), dtype=torch.bool) if known is None else known.held
            beyond = ((step < low) | (step > high)) & ~stays
            steps[group] = step.clamp(low, high)
            held[group] = HeldUnknowns(stays | beyond, steps[group])
            changed |= bool(beyond.any())
        if not changed:
            break
    return steps


def _damped(equations: NormalEquations, damping: float, sizes: Mapping[Group, int]) -> GroupEquations:
    matrix = equations.matrix.clone()
    diagonal = matrix.diagonal()
    diagonal += damping * diagonal + 1e-12 * diagonal.max()
    return GroupEquations(sizes, matrix, equations.gradient)
