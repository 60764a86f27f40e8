"""Light on the six faces of a cube.

Cube maps are told in a left-handed frame: here x to the subject's right, y up, z to where the face looks. Unity
has that frame; three.js and others with right-handed frames turn x around when they read one. Seen from inside,
faces are not mirrored.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

FACES = ("px", "nx", "py", "ny", "pz", "nz")
_AXES = (  # of each face: its middle, and what its columns (to the right) and rows (down) run along
    ((1, 0, 0), (0, 0, -1), (0, -1, 0)),
    ((-1, 0, 0), (0, 0, 1), (0, -1, 0)),
    ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    ((0, -1, 0), (1, 0, 0), (0, 0, -1)),
    ((0, 0, 1), (1, 0, 0), (0, -1, 0)),
    ((0, 0, -1), (-1, 0, 0), (0, -1, 0)),
)


def face_directions(size: int) -> Tensor:
    """Unit directions [6, size, size, 3] of the texels' centres in the head's right-handed frame, float64.

    Faces, columns and rows are those of OpenGL's specification, table 8.19.
    """
    middle, across, down = torch.tensor(_AXES, dtype=torch.float64).unbind(1)
    place = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    faces = (
        middle[:, None, None]
        + place[:, None] * across[:, None, None]
        + place[:, None, None] * down[:, None, None]
    )
    return normalize(faces, dim=-1) * faces.new_tensor([-1, 1, 1])
