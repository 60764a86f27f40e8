"""UVs for meshes that have none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nextface.errors import MissingPartError
from nextface.system.python import pip_install

Layout = tuple[NDArray[np.float32], NDArray[np.int64]]
MARGIN = 4  # texels between charts
ATLAS = 1024  # texels a side for which margins are made


def unwrap(vertices: NDArray[np.floating], triangles: NDArray[np.int64]) -> Layout:
    """UVs [T, 2] in [0, 1] and triangles [F, 3] into them, of charts that do not overlap (the library xatlas).

    Vertices on seams get several UVs; the mesh itself stays as it is.

    Raises
    ------
    MissingPartError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError:
        raise MissingPartError(
            f"This face model has no texture coordinates; making them needs xatlas: {pip_install('xatlas')}"
        ) from None
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.uint32))
    charts = xatlas.ChartOptions()
    charts.max_iterations = 2
    packing = xatlas.PackOptions()
    packing.padding = MARGIN
    packing.resolution = ATLAS
    packing.bilinear = True
    atlas.generate(charts, packing)
    _, uv_triangles, uvs = atlas[0]
    size = max(1.0, float(uvs.max()))
    return (uvs / size).astype(np.float32), uv_triangles.astype(np.int64)
