"""Least squares whose photos share some of their unknowns, at several levels: group after group is eliminated.

A photo's normal equations speak of its own unknowns and of those of a few groups that it belongs to.
Eliminating a group (the Schur complement) joins all equations that speak of it into one that does not. Photos'
own unknowns go first, then those of moments, cameras, sessions and the person; so cost and memory grow linearly
with the photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.person.sharing import OWNERS, Group


@dataclass(frozen=True)
class GroupEquations:
    """The part x^T A x / 2 + g^T x of a sum, with the unknowns x of some groups in a row; float64."""

    sizes: Mapping[Group, int]  # how many unknowns each group has, in the order in which they lie
    matrix: Tensor  # A [U, U]
    gradient: Tensor  # g [U]


@dataclass(frozen=True)
class HeldUnknowns:
    """Which of a group's unknowns stand at given values."""

    held: Tensor  # [G] bool
    values: Tensor  # [G], of those held


@dataclass(frozen=True)
class _Eliminated:
    """A group's unknowns as an affine function of those of other groups."""

    group: Group
    others: tuple[Group, ...]
    slopes: Tensor  # [G, O]
    origin: Tensor  # [G]


def minimiser(
    parts: Iterable[GroupEquations], held: Mapping[Group, HeldUnknowns] | None = None
) -> dict[Group, Tensor]:
    """Each group's unknowns at the minimum of the parts' sum, where those held have the values given.

    Parameters
    ----------
    parts: each is reduced to what its photo shares as soon as it comes, so a generator holds one at a time.
    held: groups that are left out are free.
    """
    eliminated, _ = _all_eliminated(parts, held or {})
    found: dict[Group, Tensor] = {}
    for one in reversed(eliminated):
        others = torch.cat([found[other] for other in one.others] or [one.origin[:0]])
        found[one.group] = -(one.origin + one.slopes @ others)
    return found


def marginal(parts: Iterable[GroupEquations], kept: Group) -> GroupEquations:
    """What the parts' sum says of one group alone, once all others have the values that suit it best.

    If the sum is minus the logarithm of a normal density, this is that of the group's marginal.

    Parameters
    ----------
    kept: the group that would be eliminated last: the person, or the only one of the widest owner.
    """
    _, (rest,) = _all_eliminated(parts, {}, kept)
    return rest


def _all_eliminated(
    parts: Iterable[GroupEquations], held: Mapping[Group, HeldUnknowns], kept: Group | None = None
) -> tuple[list[_Eliminated], list[GroupEquations]]:
    """Every group but one that may be kept, in their order, and what is said of that one."""
    left: list[GroupEquations] = []
    eliminated: list[_Eliminated] = []
    for part in parts:
        own = [group for group in part.sizes if group[0] == "photo"]
        for group in own:
            part, one = _eliminate(part, group, held.get(group))
            eliminated.append(one)
        left.append(part)
    groups = {group for part in left for group in part.sizes}
    for group in sorted(groups - {kept}, key=lambda group: (OWNERS.index(group[0]), group[1])):
        about = [part for part in left if group in part.sizes]
        left = [part for part in left if group not in part.sizes]
        rest, one = _eliminate(_summed(about, group), group, held.get(group))
        eliminated.append(one)
        left.append(rest)
    return eliminated, left if kept is None else [_summed(left, kept)]


def _eliminate(
    part: GroupEquations, group: Group, held: HeldUnknowns | None
) -> tuple[GroupEquations, _Eliminated]:
    """What a part says of its other groups once its last group has its best values, and these."""
    others = tuple(part.sizes)[:-1]
    assert tuple(part.sizes)[-1] == group
    cut = len(part.gradient) - part.sizes[group]
    matrix, gradient = part.matrix, part.gradient
    own, between, mine = matrix[cut:, cut:].clone(), matrix[cut:, :cut].clone(), gradient[cut:]
    if held is not None:
        stays, known = held.held, torch.where(held.held, held.values, 0)
        gradient = gradient + matrix[:, cut:] @ known
        own[stays], own[:, stays], between[stays] = 0, 0, 0
        own.diagonal()[stays] = 1
        mine = torch.where(stays, -known, gradient[cut:])
    solved = torch.linalg.solve(own, torch.cat([between, mine[:, None]], 1))
    slopes, origin = solved[:, :-1], solved[:, -1]
    rest = GroupEquations(
        {other: part.sizes[other] for other in others},
        matrix[:cut, :cut] - between.T @ slopes,
        gradient[:cut] - between.T @ origin,
    )
    return rest, _Eliminated(group, others, slopes, origin)


def _summed(parts: Sequence[GroupEquations], last: Group) -> GroupEquations:
    """The sum of parts, over all groups of which any speaks, one of them last."""
    sizes = {group: size for part in parts for group, size in part.sizes.items() if group != last}
    sizes = {
        group: sizes[group] for group in sorted(sizes, key=lambda group: (-OWNERS.index(group[0]), group[1]))
    }
    sizes[last] = next(part.sizes[last] for part in parts)
    firsts, unknowns = {}, 0
    for group, size in sizes.items():
        firsts[group] = unknowns
        unknowns += size
    template = parts[0].matrix
    matrix, gradient = template.new_zeros(unknowns, unknowns), template.new_zeros(unknowns)
    for part in parts:
        places = torch.cat([torch.arange(size) + firsts[group] for group, size in part.sizes.items()])
        matrix[places[:, None], places] += part.matrix
        gradient[places] += part.gradient
    return GroupEquations(sizes, matrix, gradient)
