"""What hides light from points on a mesh, and what rays from them meet, asked of Mitsuba's ray tracer."""

from __future__ import annotations

from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from renderers.mitsuba.exchange import to_drjit, to_torch


class RayTester:
    """Rays from anywhere against one mesh that stands still.

    Parameters
    ----------
    positions: [V, 3].
    triangles: [F, 3] uint32.
    """

    def __init__(self, positions: Tensor, triangles: NDArray[np.uint32]) -> None:
        mesh = mi.Mesh("mesh", len(positions), len(triangles))
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = to_drjit(mi.Float, positions.detach().clone())
        parameters["faces"] = mi.UInt32(triangles.ravel())
        parameters.update()
        self._scene = mi.load_dict({"type": "scene", "mesh": mesh})

    def hits(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Whether each ray, from origins [R, 3] along unit directions [R, 3], meets the mesh: [R] bool."""
        ray = mi.Ray3f(_columns(mi.Point3f, origins), _columns(mi.Vector3f, directions))
        return to_torch([self._scene.ray_test(ray)], origins.device)[0]

    def first(self, origins: Tensor, directions: Tensor) -> Tensor:
        """Which triangle each such ray meets first, -1 where none: [R] int64."""
        ray = mi.Ray3f(_columns(mi.Point3f, origins), _columns(mi.Vector3f, directions))
        met = self._scene.ray_intersect_preliminary(ray)
        number = dr.select(met.is_valid(), mi.Float(met.prim_index), -1.0)  # exact up to 16 million
        return to_torch([number], origins.device)[0].long()


def _columns(kind: Any, rows: Tensor) -> Any:
    return kind(*(to_drjit(mi.Float, column) for column in rows.unbind(1)))
