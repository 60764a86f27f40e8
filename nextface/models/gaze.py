"""Where eyes look, of any face model that says which vertices lie on its eyeballs."""

from __future__ import annotations

import torch
from torch import Tensor

from nextface.models.bases import EYEBALLS
from nextface.models.face_model import FaceModel

SIDES = ("left", "right")  # the subject's; left is where x is positive


def eyeball_regions(model: FaceModel, rest: Tensor) -> list[Tensor]:
    """Which vertices [V] bool are the left and the right eyeball's, of a head [V, 3] at rest; may be empty."""
    name = next((name for name in EYEBALLS if name in model.regions), None)
    if name is None:
        return []
    region = model.regions[name]
    sides = [region & (rest[:, 0] > 0), region & (rest[:, 0] < 0)]
    return sides if all(int(side.sum()) >= 3 for side in sides) else []


def gaze_directions(rest: Tensor, vertices: Tensor, eyeballs: list[Tensor]) -> Tensor:
    """Unit directions [N, 2, 3] in model space in which the left and the right eye look; NaN without eyeballs.

    An eye that looks straight ahead at rest looks along +z. How far it has turned since is the rotation that
    suits its vertices best (Kabsch, "A solution for the best rotation to relate two sets of vectors", 1976).

    Parameters
    ----------
    rest: [V, 3] mm; vertices: [N, V, 3] mm; eyeballs: of `eyeball_regions`.
    """
    if not eyeballs:
        return torch.full((len(vertices), 2, 3), torch.nan).to(rest)
    found = []
    for eye in eyeballs:
        before = rest[eye] - rest[eye].mean(0)
        after = vertices[:, eye] - vertices[:, eye].mean(1, keepdim=True)
        left, _, right = torch.linalg.svd((after.mT @ before).double())  # after = R before
        mirrored = torch.det(left @ right).sign()
        signs = torch.ones(len(vertices), 3).to(left)
        signs[:, 2] = mirrored
        turn = (left * signs[:, None]) @ right
        found.append(turn[..., 2])
    return torch.stack(found, 1).to(rest)
