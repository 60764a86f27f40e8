"""An eyeball of rings around the optical axis: rings lie on the edges of pupil and iris, so both stay round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

RADIUS = 15.8  # mm; a little below that of MakeHuman's eyeball, which is coarser and keeps inside its sphere
IRIS_RADIUS = 5.9  # mm, the human mean
SEGMENTS = 32
PUPIL_EDGE = 8.0  # degrees off the axis
IRIS_EDGE = float(np.degrees(np.arcsin(IRIS_RADIUS / RADIUS)))
CORNEA_EDGE = IRIS_EDGE + 1.5
CORNEA_BULGE = 0.5  # mm at the apex
RINGS = np.array(
    [
        2.7, 5.3, PUPIL_EDGE - 0.4, PUPIL_EDGE + 0.4, 10.5, 13.5, 17.0, 20.0, IRIS_EDGE - 1.8, IRIS_EDGE - 0.6,
        IRIS_EDGE + 0.6, CORNEA_EDGE + 0.8, 29.0, 33.0, 38.0, 45.0, 54.0, 65.0, 77.0, 90.0, 105.0,
    ]
)  # fmt: skip  # degrees off the axis; the ball is open behind the last ring, where nobody looks


def ring_mesh() -> tuple[Array, Indices, Array]:
    """Offsets [V, 3] in radii of a left eyeball that looks along +z, triangles [F, 3], angle off the axis [V].

    Vertex 0 is the apex; ring i follows in SEGMENTS steps counter-clockwise from +x, seen from the front.
    """
    angle = np.concatenate([[0.0], np.repeat(RINGS, SEGMENTS)])
    azimuth = np.concatenate([[0.0], np.tile(np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS, len(RINGS))])
    polar = np.radians(angle)
    bulge = CORNEA_BULGE * np.clip(1 - (angle / CORNEA_EDGE) ** 2, 0, 1) ** 2
    direction = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], 1)
    offsets = direction * (1 + bulge / RADIUS)[:, None]
    step = np.arange(SEGMENTS)
    following = (step + 1) % SEGMENTS
    triangles = [np.stack([np.zeros_like(step), 1 + step, 1 + following], 1)]
    for ring in range(len(RINGS) - 1):
        inner, outer = 1 + ring * SEGMENTS, 1 + (ring + 1) * SEGMENTS
        triangles.append(np.stack([inner + step, outer + step, outer + following], 1))
        triangles.append(np.stack([inner + step, outer + following, inner + following], 1))
    return offsets, np.concatenate(triangles), angle


def frame_weights(ball: Array, side: int) -> Array:
    """How four frame points follow the raw eye's vertices [H, 3]: weights [4, H].

    The frame (centre, and one radius along x, y and z; x runs away from the nose: `side` is 1 for the
    subject's left eye, -1 for the right) is what the best affine map of the raw eyeball makes of it.
    """
    centre = ball.mean(0)
    design = np.concatenate([ball - centre, np.ones((len(ball), 1))], 1)
    axes = RADIUS * np.array([[0, 0, 0], [side, 0, 0], [0, 1, 0], [0, 0, 1]])
    return np.concatenate([axes, np.ones((4, 1))], 1) @ np.linalg.pinv(design)
