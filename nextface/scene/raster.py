"""A z-buffer in torch: which triangle every pixel sees, and where on it.

Which triangle a pixel sees is not differentiable, and nothing here pretends otherwise. What it sees is:
`interpolate` carries gradients to vertex values, and `camera_barycentric` carries them to vertex positions
and camera intrinsics. Silhouettes therefore send no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.scene import Scene

NEAREST_MM = 1.0  # a triangle that comes closer to the camera's plane than this is not drawn
PIXELS_AT_ONCE = 1 << 21  # pixel-triangle pairs handled in one pass: bounds memory at about 200 MB


@dataclass(frozen=True)
class Fragments:
    """What every pixel of one image sees."""

    triangle: Tensor  # [H, W] int64, the nearest triangle, -1 where there is none
    barycentric: Tensor  # [H, W, 3] float, perspective-correct weights of its vertices, 0 where there is none

    @property
    def covered(self) -> Tensor:
        """[H, W] bool, pixels that see a triangle."""
        return self.triangle >= 0


@torch.no_grad()
def rasterize(
    points: Tensor,
    depth: Tensor,
    triangles: Tensor,
    width: int,
    height: int,
    *,
    nearest: float = 1e-6,
    cull_backfaces: bool = False,
) -> Fragments:
    """The nearest triangle at every pixel centre (column + 0.5, row + 0.5), with its barycentric weights.

    Triangles are cut into rows of pixels between two edges. Both triangles at an edge compute the same crossing
    and own the half-open span on their side of it, so no centre inside a surface is missed or owned twice.
    Of triangles at equal depth (in float32) the one with the smallest number is seen.

    Parameters
    ----------
    points: [V, 2] pixel positions of the vertices.
    depth: [V] distances along the optical axis, in any unit; all equal for a flat (UV) raster.
    triangles: [F, 3] int64.
    nearest: triangles with a vertex at or below this depth, or not finite, are not drawn.
    cull_backfaces: leave out triangles that are clockwise on screen (seen from inside).
    """
    device = points.device
    corners = points.double()[triangles]
    corner_depth = depth.double()[triangles]
    area = _twice_area(corners)
    drawn = (corner_depth > nearest).all(1) & corner_depth.isfinite().all(1) & area.isfinite()
    drawn &= area < 0 if cull_backfaces else area != 0
    spans = _Spans.of(corners, drawn, width, height)

    # 1/depth is affine on screen (not depth); it is kept within the triangle's own range, whatever its shape.
    inverse = 1 / corner_depth
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    rise_across, rise_along = inverse[:, 1] - inverse[:, 0], inverse[:, 2] - inverse[:, 0]
    slope_x = (rise_across * along[:, 1] - rise_along * across[:, 1]) / area
    slope_y = (rise_along * across[:, 0] - rise_across * along[:, 0]) / area
    owner = spans.triangle
    at_row = inverse[owner, 0] + slope_y[owner] * (spans.row + 0.5 - corners[owner, 0, 1])
    at_row = at_row + slope_x[owner] * (0.5 - corners[owner, 0, 0])
    slope_x, least, most = slope_x[owner], inverse.amin(1)[owner], inverse.amax(1)[owner]

    # One 64-bit key a pixel, depth above triangle number: an integer minimum is the z-test, in any order.
    empty = torch.iinfo(torch.int64).max
    best = torch.full((height * width,), empty, device=device)
    pixels = int(spans.length.sum())
    for start in range(0, pixels, PIXELS_AT_ONCE):
        span, step = _expand(spans.length, start, min(start + PIXELS_AT_ONCE, pixels))
        column = spans.column.index_select(0, span) + step
        value = at_row.index_select(0, span) + slope_x.index_select(0, span) * column
        value = torch.minimum(torch.maximum(value, least.index_select(0, span)), most.index_select(0, span))
        # The bits of positive float32 numbers order as the numbers do.
        bits = value.reciprocal_().float().view(torch.int32).long()
        key = (bits << 32) | owner.index_select(0, span)
        best.scatter_reduce_(0, spans.row.index_select(0, span) * width + column, key, "amin")

    covered = (best != empty).nonzero()[:, 0]
    triangle = torch.full((height * width,), -1, device=device)
    triangle[covered] = best[covered] & 0xFFFFFFFF
    seen = triangle[covered]
    centre = torch.stack([covered % width, torch.div(covered, width, rounding_mode="floor")], 1) + 0.5
    x, y = (corners[seen] - centre[:, None]).unbind(-1)
    weight = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    weight = (weight * area[seen].sign()[:, None]).clamp(min=0) * inverse[seen]
    barycentric = points.new_zeros(height * width, 3)
    barycentric[covered] = (weight / weight.sum(1, keepdim=True)).to(points.dtype)
    return Fragments(triangle.view(height, width), barycentric.view(height, width, 3))


def _twice_area(corners: Tensor) -> Tensor:
    """Twice the signed areas [F] of corners [F, 3, 2]; negative where counter-clockwise on screen (y down)."""
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]


@dataclass(frozen=True)
class _Spans:
    """Horizontal runs of pixels whose centres lie inside a triangle."""

    triangle: Tensor  # [S] int64
    row: Tensor  # [S] int64
    column: Tensor  # [S] int64, the first pixel
    length: Tensor  # [S] int64, at least 1

    @classmethod
    def of(cls, corners: Tensor, drawn: Tensor, width: int, height: int) -> _Spans:
        """The runs of corners [F, 3, 2] (float64), of those triangles that are `drawn` [F] bool."""
        # Downward edges from a corner that sorts first by y: the same numbers in both triangles of an edge.
        order = corners[..., 1].argsort(1)
        x, y = corners[..., 0].gather(1, order), corners[..., 1].gather(1, order)
        first = _first_centre(y[:, 0], height)
        rows = (_first_centre(y[:, 2], height) - first) * drawn
        triangle, row = _expand(rows, 0, int(rows.sum()))
        row = first[triangle] + row
        centre = row + 0.5
        x, y = x[triangle], y[triangle]
        upper = centre < y[:, 1]
        long_edge = _crossing(x[:, 0], y[:, 0], x[:, 2], y[:, 2], centre)
        short_edge = torch.where(
            upper,
            _crossing(x[:, 0], y[:, 0], x[:, 1], y[:, 1], centre),
            _crossing(x[:, 1], y[:, 1], x[:, 2], y[:, 2], centre),
        )
        column = _first_centre(torch.minimum(long_edge, short_edge), width)
        length = _first_centre(torch.maximum(long_edge, short_edge), width) - column
        kept = length > 0
        return cls(triangle[kept], row[kept], column[kept], length[kept])


def _first_centre(position: Tensor, size: int) -> Tensor:
    """The first of `size` pixels whose centre is at or beyond a position; `size` where there is none."""
    return (position - 0.5).ceil().nan_to_num().clamp(0, size).long()


def _crossing(x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor, y: Tensor) -> Tensor:
    """Where the edge from (x0, y0) down to (x1, y1) crosses height y; not finite for a level edge."""
    return x0 + (y - y0) * ((x1 - x0) / (y1 - y0))


def _expand(counts: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Item numbers and steps 0 .. count - 1 within each, of items with `counts` [S] laid end to end.

    Only places `start` to `stop` of the whole are returned, [stop - start] each.
    """
    ends = counts.cumsum(0)
    begins = ends - counts
    share = (ends.clamp(max=stop) - begins.clamp(min=start)).clamp(min=0)
    item = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), share)
    return item, torch.arange(start, stop, device=counts.device) - begins.index_select(0, item)


def rasterize_scene(scene: Scene, *, cull_backfaces: bool = False) -> Fragments:
    """What the camera of a scene of one photo (N = 1) sees.

    Raises
    ------
    ValueError: when the scene holds more than one photo.
    """
    if len(scene) != 1:
        raise ValueError(f"rasterize_scene draws one photo, but the scene holds {len(scene)}; pass scene[i]")
    camera, mesh = scene.camera, scene.mesh
    with torch.no_grad():
        seen = camera.transform(mesh.vertices)[0]
        image = seen @ camera.intrinsics[0].T
        points = image[:, :2] / image[:, 2:]
    return rasterize(
        points,
        seen[:, 2],
        mesh.triangles,
        camera.width,
        camera.height,
        nearest=NEAREST_MM,
        cull_backfaces=cull_backfaces,
    )


def interpolate(fragments: Fragments, triangles: Tensor, values: Tensor) -> Tensor:
    """Vertex values [V, C] interpolated at every pixel, [H, W, C]; 0 where no triangle is seen.

    Differentiable in `values`, and in `fragments.barycentric` where that carries gradients
    (`camera_barycentric`).
    """
    height, width = fragments.triangle.shape
    pixel = fragments.covered.flatten().nonzero()[:, 0]
    corner = triangles[fragments.triangle.flatten()[pixel]]
    weight = fragments.barycentric.flatten(0, 1).index_select(0, pixel)
    # index_select, not indexing: its backward pass is an index_add, an order of magnitude faster on a CPU.
    seen = torch.stack([weight[:, k : k + 1] * values.index_select(0, corner[:, k]) for k in range(3)])
    image = values.new_zeros(height * width, values.shape[1])
    return image.index_copy(0, pixel, seen.sum(0)).view(height, width, -1)


def camera_barycentric(
    fragments: Fragments, triangles: Tensor, points: Tensor, intrinsics: Tensor
) -> Fragments:
    """The same fragments with barycentric weights recomputed so that gradients flow through them.

    The ray of each covered pixel's centre is intersected with its triangle (Moller & Trumbore, "Fast, Minimum
    Storage Ray/Triangle Intersection", 1997).

    Parameters
    ----------
    triangles: [F, 3] int64.
    points: [V, 3] vertices in the camera frame (x right, y down, z forward), mm.
    intrinsics: [3, 3] camera matrix in pixels.
    """
    height, width = fragments.triangle.shape
    pixel = fragments.covered.flatten().nonzero()[:, 0]
    corner = triangles[fragments.triangle.flatten()[pixel]]
    first, second, third = (points.index_select(0, corner[:, k]) for k in range(3))

    ones = torch.ones_like(pixel)
    centre = torch.stack([pixel % width + 0.5, torch.div(pixel, width, rounding_mode="floor") + 0.5, ones], 1)
    ray = torch.linalg.solve(intrinsics, centre.to(points.dtype).T).T
    ray = ray / ray[:, 2:]
    # Sliding the corner along the ray changes no weight and spares float32 the camera distance.
    origin = ray * first[:, 2:] - first
    across, along = second - first, third - first
    normal = torch.linalg.cross(ray, along)
    determinant = (across * normal).sum(1)
    determinant = torch.where(determinant == 0, torch.finfo(points.dtype).tiny, determinant)
    b = (origin * normal).sum(1) / determinant
    c = (ray * torch.linalg.cross(origin, across)).sum(1) / determinant
    barycentric = points.new_zeros(height * width, 3).index_copy(0, pixel, torch.stack([1 - b - c, b, c], 1))
    return Fragments(fragments.triangle, barycentric.view(height, width, 3))
