"""What a head does through time, as files of animated heads hold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HeadMotion:
    """A head's course in a camera's frame with OpenGL's axes: x right, y up, z to the camera's back."""

    times: NDArray[np.float32]  # [T] seconds, rising
    weights: NDArray[np.float32]  # [T, E] of all expressions, as `PosableHead.weights`
    turns: NDArray[np.float32]  # [T, 4] unit quaternions x, y, z, w, from model space; neighbours do not flip
    places: NDArray[np.float32]  # [T, 3] metres, where the model's origin is
