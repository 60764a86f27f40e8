"""Joints that turn parts of a face: linear blend skinning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nextface.scene.geometry import rotation_matrix


def skinned(
    vertices: Tensor, joints: Tensor, parents: Sequence[int], weights: Tensor, angles: Tensor
) -> Tensor:
    """Vertices [N, V, 3] (mm) after each joint has turned, differentiable in all tensors.

    Parameters
    ----------
    vertices: [N, V, 3] mm, before joints turn.
    joints: [N, J, 3] mm, centres of rotation before joints turn.
    parents: J numbers: the joint that carries each one, -1 for the root; a parent comes before its children.
    weights: [V, J] >= 0, how much of each joint's motion a vertex follows; rows sum to at most 1, and what is
        left stands still.
    angles: [N, J, 3] axis-angle in radians, relative to the parent.

    Raises
    ------
    ValueError: where a parent does not come before its child.
    """
    count = joints.shape[1]
    local = rotation_matrix(angles.flatten(0, 1)).unflatten(0, angles.shape[:2])  # [N, J, 3, 3]
    turns: list[Tensor] = []
    shifts: list[Tensor] = []  # a joint moves a point x to turn @ x + shift
    for joint in range(count):
        if not -1 <= parents[joint] < joint:
            raise ValueError(f"joint {joint} has the parent {parents[joint]}, which does not come before it")
        turn, centre = local[:, joint], joints[:, joint, :, None]
        shift = centre - turn @ centre
        if parents[joint] >= 0:
            above, moved = turns[parents[joint]], shifts[parents[joint]]
            turn, shift = above @ turn, above @ shift + moved
        turns.append(turn)
        shifts.append(shift)
    weights = weights.to(vertices)
    still = 1 - weights.sum(1)
    eye = torch.eye(3).to(vertices)
    turn = torch.einsum("vj,njab->nvab", weights, torch.stack(turns, 1)) + still[:, None, None] * eye
    shift = torch.einsum("vj,nja->nva", weights, torch.stack(shifts, 1)[..., 0])
    return (turn @ vertices[..., None])[..., 0] + shift
