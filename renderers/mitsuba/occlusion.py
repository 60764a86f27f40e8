"""What hides the light from points on a mesh, asked of Mitsuba's ray tracer."""

from __future__ import annotations

from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray


class RayTester:
    """Rays from anywhere against one mesh that stands still.

    Parameters
    ----------
    positions: [V, 3] float32.
    triangles: [F, 3] uint32.
    """

    def __init__(self, positions: NDArray[np.float32], triangles: NDArray[np.uint32]) -> None:
        mesh = mi.Mesh("mesh", len(positions), len(triangles))
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = mi.Float(positions.ravel())
        parameters["faces"] = mi.UInt32(triangles.ravel())
        parameters.update()
        self._scene = mi.load_dict({"type": "scene", "mesh": mesh})

    def hits(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each ray, from origins [R, 3] along unit directions [R, 3], meets the mesh."""
        ray = mi.Ray3f(_columns(mi.Point3f, origins), _columns(mi.Vector3f, directions))
        return np.array(self._scene.ray_test(ray), dtype=bool)


def _columns(kind: Any, rows: NDArray[np.float32]) -> Any:
    return kind(*(mi.Float(np.ascontiguousarray(rows[:, axis])) for axis in range(3)))
