"""Between vertex values and UV maps.

The upper row of a map is at v = 1: in an H x W map, the centre of texel (r, c) is at u = (c + 0.5) / W and
v = 1 - (r + 0.5) / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from nextface.scene import Mesh
from nextface.scene.raster import rasterize


@dataclass(frozen=True)
class TexelPoints:
    """The surface point that every texel of a map stands for.

    A texel outside every chart stands for a point on the border of a chart near it. So every texel holds a
    value of the surface itself, and bilinear lookups at a chart's border meet no background.
    """

    triangle: Tensor  # [H, W] int64
    barycentric: Tensor  # [H, W, 3] float in [0, 1], weights of the triangle's vertices
    covered: Tensor  # [H, W] bool, texels whose centre lies inside a chart


def texel_points(mesh: Mesh, resolution: int) -> TexelPoints:
    """The surface points of a square map's texels.

    They depend on the UV layout alone, and are kept for the layouts that were asked for last.

    Raises
    ------
    ValueError: when the mesh has no UVs, or none of its UV triangles covers a texel.
    """
    if mesh.uvs is None or mesh.uv_triangles is None:
        raise ValueError("the mesh has no UV coordinates, so there is no map to bake to")
    for uvs, uv_triangles, size, points in _recent:
        # Identity, not equality: comparing is slow, and holding the tensors keeps their identity from reuse.
        if uvs is mesh.uvs and uv_triangles is mesh.uv_triangles and size == resolution:
            return points
    points = _find_texel_points(mesh.uvs.detach(), mesh.uv_triangles, resolution)
    _recent.append((mesh.uvs, mesh.uv_triangles, resolution, points))
    del _recent[:-LAYOUTS_KEPT]
    return points


LAYOUTS_KEPT = 4
_recent: list[tuple[Tensor, Tensor, int, TexelPoints]] = []


def _find_texel_points(uvs: Tensor, uv_triangles: Tensor, resolution: int) -> TexelPoints:
    image = torch.stack([uvs[:, 0], 1 - uvs[:, 1]], 1) * resolution
    fragments = rasterize(image, torch.ones_like(image[:, 0]), uv_triangles, resolution, resolution)
    covered = fragments.covered
    if not covered.any():
        raise ValueError(f"no UV triangle covers a texel centre of a {resolution} x {resolution} map")
    row, column = distance_transform_edt(~covered.cpu().numpy(), return_distances=False, return_indices=True)
    nearest = (
        torch.from_numpy(row).to(covered.device).long(),
        torch.from_numpy(column).to(covered.device).long(),
    )
    triangle = fragments.triangle[nearest]
    barycentric = fragments.barycentric.clone()
    outside = (~covered).nonzero()
    corners = image[uv_triangles[triangle[~covered]]]
    barycentric[~covered] = _closest_barycentric(corners, outside.flip(1) + 0.5)
    return TexelPoints(triangle, barycentric, covered)


def _closest_barycentric(corners: Tensor, points: Tensor) -> Tensor:
    """Weights [P, 3] of the points on the borders of triangles [P, 3, 2] that are closest to points [P, 2]."""
    start, end = corners, corners.roll(-1, 1)
    edge = end - start
    length = (edge * edge).sum(-1).clamp(min=torch.finfo(corners.dtype).tiny)
    along = (((points[:, None] - start) * edge).sum(-1) / length).clamp(0, 1)
    gap = (start + along[..., None] * edge - points[:, None]).square().sum(-1)
    best = gap.argmin(1, keepdim=True)
    share = along.gather(1, best)
    weight = torch.zeros_like(gap).scatter(1, best, 1 - share)
    return weight.scatter(1, (best + 1) % 3, share)


def bake_vertices(values: Tensor, mesh: Mesh, resolution: int) -> Tensor:
    """Maps [N, resolution, resolution, C] of vertex values [N, V, C]; differentiable in the values.

    Every texel holds a mean of the values at one triangle's vertices, so a map keeps its values' range.
    `texel_points(mesh, resolution).covered` says which texels lie inside a chart.

    Raises
    ------
    ValueError: when the mesh has no UVs, or none of its UV triangles covers a texel.
    """
    points = texel_points(mesh, resolution)
    corner = mesh.triangles[points.triangle.flatten()]
    weight = points.barycentric.to(values.dtype).flatten(0, 1)
    texels = weight[:, :1] * values.index_select(1, corner[:, 0])
    for k in (1, 2):
        texels = texels + weight[:, k : k + 1] * values.index_select(1, corner[:, k])
    return texels.unflatten(1, (resolution, resolution))


def bilinear_weights(uv: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The texels and their weights, both [P, 4], from which `sample_map` interpolates at uv [P, 2].

    Texels of a map [height, width] are numbered row by row.
    """
    size = uv.new_tensor([width, height])
    place = torch.stack([uv[:, 0], 1 - uv[:, 1]], 1) * size - 0.5
    place = place.clamp(min=0).minimum(size - 1)
    first = place.floor().minimum(size - 2).clamp(min=0)
    across, down = (place - first).unbind(1)
    left, top = first.long().unbind(1)
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    texels = torch.stack(
        [top * width + left, top * width + right, bottom * width + left, bottom * width + right], 1
    )
    weights = [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
    return texels, torch.stack(weights, 1)


def sample_map(values: Tensor, uv: Tensor) -> Tensor:
    """Bilinear lookups [N, ..., C] in maps [N, H, W, C] at uv [..., 2]; differentiable in both.

    Beyond the outermost texel centres the border texel's value goes on.
    """
    # grid_sample runs over [-1, 1] from the map's left and upper edges, which are u = 0 and v = 1.
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1).reshape(1, 1, -1, 2)
    grid = grid.to(values.dtype).expand(len(values), -1, -1, -1)
    sampled = grid_sample(values.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
    return sampled[:, :, 0].mT.unflatten(1, uv.shape[:-1])


def resample_map(values: Tensor, resolution: int) -> Tensor:
    """Maps [N, resolution, resolution, C] of maps [N, H, W, C]: bilinear, or means of texels where smaller."""
    moved = values.permute(0, 3, 1, 2)
    resized = interpolate(moved, size=resolution, mode="bilinear", antialias=True, align_corners=False)
    return resized.permute(0, 2, 3, 1)
