"""Which way a mesh's triangles turn, and how large its unit is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNITS = (1000.0, 10.0, 1.0, 0.001)  # mm of a metre, a centimetre, a millimetre, a micrometre
HEAD = 280.0  # mm, about as high as models' heads are


def outward(vertices: NDArray[np.floating], triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """The triangles [F, 3] of a head, turned so that most of its area [V, 3] faces away from its middle."""
    corners = np.asarray(vertices, np.float64)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = (corners.min((0, 1)) + corners.max((0, 1))) / 2
    away = (normals * (corners.mean(1) - middle)).sum()
    return triangles if away >= 0 else triangles[:, ::-1].copy()


def millimetres(vertices: NDArray[np.floating]) -> float:
    """How many mm a unit of a head's vertices [V, 3] is: the metric unit that makes it most like a head."""
    height = float(np.ptp(np.asarray(vertices)[:, 1]))
    return min(UNITS, key=lambda unit: abs(np.log(max(height, 1e-9) * unit / HEAD)))
