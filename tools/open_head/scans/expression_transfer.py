"""Takes expressions along to another mean: offsets turn and scale with the head, shut lids meet again."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from ..statistics import reflect
from ..topology import PARTS, Head
from .carrying import REACH, Smoothness, opposite_points
from .edge_loops import halves, ring
from .registration import LID_RINGS, Registered

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SHUT = 3  # rounds that bring shut lids together on the eyeball


def transfer(
    expressions: dict[str, Array], head: Head, own: Array, mean: Array, quads: Indices, registered: Registered
) -> dict[str, Array]:
    """Expressions [C, 3] of the head's own mean [C, 3], by name, for another mean [C, 3] of the same mesh."""
    turn = registered.scale * registered.rotation
    moved = {name: offsets @ turn.T for name, offsets in expressions.items()}
    for name in ("left_eye", "right_eye"):  # both means look straight ahead
        mine = np.flatnonzero(head.control_part == PARTS.index(name))
        radii = [np.linalg.norm(shape[mine[1:]] - shape[mine[0]], axis=1).mean() for shape in (mean, own)]
        for expression, offsets in expressions.items():
            moved[expression][mine] = radii[0] / radii[1] * offsets[mine]
    blink = shut_lids(moved["eyeBlinkLeft"], expressions["eyeBlinkLeft"], head, own, mean, quads)
    moved["eyeBlinkLeft"] = blink
    moved["eyeBlinkRight"] = reflect(blink, head.control_mirror)
    return moved


def shut_lids(blink: Array, before: Array, head: Head, own: Array, mean: Array, quads: Indices) -> Array:
    """The left eye's blink [C, 3] whose lids meet on the new mean as with `before` [C, 3] on the own one."""
    skin = int((head.control_part == 0).sum())
    refine = head.refine[head.part == 0][:, :skin]
    smooth = Smoothness(mean[:skin], quads)
    eye = np.flatnonzero(head.control_part == PARTS.index("left_eye"))
    blink = blink.copy()

    open_lids = refine @ own[:skin]
    rows = []
    for pair in LID_RINGS[:2]:
        points = opposite_points(*halves(ring(quads, *pair[0]), open_lids), open_lids)
        rows.append(sparse.vstack([part @ refine for part in points]))

    def shut(shape: Array) -> tuple[list[Array], Array, Array]:
        """Points of the shut lids, ring by ring; the eyeball's centre; how far the points lie off the ball."""
        points = [row @ shape[:skin] for row in rows]
        radius = np.linalg.norm(shape[eye[1:]] - shape[eye[0]], axis=1).mean()
        return points, shape[eye[0]], np.linalg.norm(np.concatenate(points) - shape[eye[0]], axis=1) - radius

    aims, _, depth = shut(own + before)
    for _ in range(SHUT):
        points, centre, now = shut(mean + blink)
        closing = []
        for aim, point in zip(aims, points, strict=True):
            (upper, lower), (aim_upper, aim_lower) = np.split(point, 2), np.split(aim, 2)
            miss = (upper - lower - aim_upper + aim_lower) * [0, 1, 0]
            closing += [-miss, np.zeros_like(miss)]  # the upper lid does the closing
        away = np.concatenate(points) - centre
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        values = np.concatenate(closing) + (depth - now)[:, None] * away
        blink[:skin] += smooth.nudge(sparse.vstack(rows).tocsr(), values, REACH)
    return blink
