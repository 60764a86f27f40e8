"""FLAME's own parameters of a head, by the names under which programs for FLAME keep them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation
from torch import Tensor

from nextface.models.flame.model import JOINTS, MILLIMETRES
from nextface.models.skinned_head import SkinnedHead

Array = np.ndarray[Any, np.dtype[np.float64]]
ANGLES = 3 * (len(JOINTS) - 1)


def flame_parameters(
    model: SkinnedHead, identity: Tensor, expression: Tensor, turn: Array, place: Array
) -> dict[str, Array]:
    """The parameters of one moment; metres and radians, float64.

    FLAME's equations turn the head about its root joint, a pose about the origin.

    Parameters
    ----------
    identity: [1, K]; expression: [E]: the components, and the angles of neck, jaw, left and right eye.
    turn, place: [3, 3] and [3] (mm), from model space to the world.
    """
    components, angles = expression.double().cpu().split([len(model.component_names), ANGLES])
    root = model.joints(identity.double().cpu(), components[None])[0, 0].numpy() / MILLIMETRES
    neck, jaw, eyes = (part.numpy()[None] for part in angles.split([3, 3, 6]))
    return {
        "translation": (place / MILLIMETRES + turn @ root - root)[None],
        "rotation": Rotation.from_matrix(turn).as_rotvec()[None],
        "neck_pose": neck,
        "jaw_pose": jaw,
        "eyes_pose": eyes,
        "shape": identity[0].double().cpu().numpy(),
        "expr": components.numpy()[None],
        "static_offset": np.zeros((1, len(model.shape.mean), 3)),
    }
