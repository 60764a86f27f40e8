"""A normal map: how the smooth surface through a head's vertices is turned from the normals of its mesh.

Between its vertices a mesh is drawn with interpolated normals, which show its edges where highlights cross
lids, lips and nostrils. Loop's refinement ("Smooth Subdivision Surfaces Based on Triangles", 1987) leads to a
surface without edges, and the map tells its normals. It holds nothing finer than the vertices tell: pores are
not fitted.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextface.export.head.tangents import corner_tangents
from nextface.models.bases import neutral_vertices
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Mesh
from nextface.scene.baking import resample_map, texel_points
from nextface.scene.corners import MeshCorners
from nextface.scene.geometry import vertex_normals

LEVELS = 2  # of refinement; a third turns normals by 0.04 degrees (median), a step of an 8-bit map is 0.4
FINEST = 1024  # texels a side; larger maps are enlarged, for edges are about six of these long
TEXELS_AT_ONCE = 1 << 20  # with all their values below 200 MB


@torch.no_grad()
def smooth_normals(reconstruction: Reconstruction, resolution: int) -> Tensor:
    """Unit normals [R, R, 3] of the head at rest, on the CPU: x towards increasing u, y increasing v, z out.

    They are told in the frame of the interpolated normals and tangents of the exported meshes.

    Raises
    ------
    ValueError: for a model without UVs.
    """
    model = reconstruction.model
    rest = neutral_vertices(model, reconstruction.parameters.identity[:1])
    mesh = Mesh.from_vertices(rest, model.triangles, model.uvs, model.uv_triangles)
    size = min(resolution, FINEST)
    corners, points = MeshCorners.of(mesh), texel_points(mesh, size)
    assert mesh.uvs is not None and corners.uv is not None
    normals = vertex_normals(rest, model.triangles)[0][corners.vertex]
    tangents = corner_tangents(rest[0][corners.vertex], normals, mesh.uvs[corners.uv], corners.triangles)
    finer, triangles = rest[0], model.triangles
    for _ in range(LEVELS):
        finer, triangles = refined(finer, triangles)
    smooth = vertex_normals(finer[None], triangles)[0]
    parts = []
    for triangle, barycentric in zip(
        points.triangle.flatten().split(TEXELS_AT_ONCE),
        points.barycentric.float().flatten(0, 1).split(TEXELS_AT_ONCE),
        strict=True,
    ):
        corner = corners.triangles[triangle]
        across = normalize(_mean(normals, corner, barycentric), dim=-1)
        along, sign = _mean(tangents, corner, barycentric).split([3, 1], -1)
        along = normalize(along - (along * across).sum(-1, keepdim=True) * across, dim=-1)
        frame = torch.stack([along, torch.linalg.cross(across, along) * torch.sign(sign), across], 1)
        true = _mean(smooth, *_in_finer(triangles, triangle, barycentric))
        parts.append(normalize((frame @ true[..., None])[..., 0], dim=-1))
    found = torch.cat(parts).unflatten(0, (size, size))
    return found if size == resolution else normalize(resample_map(found[None], resolution)[0], dim=-1)


def refined(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """One step of Loop's refinement: vertices [V + E, 3], the old ones first, and triangles [4 F, 3].

    Of a triangle a, b, c with the middles ab, bc, ca of its edges, the four new ones are a, ab, ca; ab, b, bc;
    ca, bc, c; and ab, bc, ca.
    """
    count, corners = len(vertices), triangles.roll(-1, 1)
    low, high = torch.minimum(triangles, corners), torch.maximum(triangles, corners)
    codes, number, uses = torch.unique(low * count + high, return_inverse=True, return_counts=True)
    ends = torch.stack([torch.div(codes, count, rounding_mode="floor"), codes % count], 1)
    across = torch.zeros(len(ends), 3).to(vertices)
    across.index_add_(0, number.flatten(), vertices[triangles.roll(1, 1)].flatten(0, 1))
    inside, middle = (uses == 2)[:, None], vertices[ends].mean(1)
    odd = torch.where(inside, 0.75 * middle + across / 8, middle)

    def around(edges: Tensor) -> tuple[Tensor, Tensor]:
        """How many of some edges end at each vertex, and the sum of their other ends."""
        both = torch.cat([edges, edges.flip(1)])
        others = torch.zeros_like(vertices).index_add_(0, both[:, 0], vertices[both[:, 1]])
        return torch.bincount(both[:, 0], minlength=count).to(vertices)[:, None], others

    (neighbours, total), (on_rim, along_rim) = around(ends), around(ends[~inside[:, 0]])
    valence = neighbours.clamp(min=1)  # vertices that no triangle uses stay where they are
    share = (40 - (2 * torch.cos(2 * math.pi / valence) + 3) ** 2) / (64 * valence)
    even = torch.where(
        on_rim > 0,
        torch.where(on_rim == 2, 0.75 * vertices + along_rim / 8, vertices),  # where rims meet, nothing moves
        (1 - neighbours * share) * vertices + share * total,
    )
    ab, bc, ca = (number + count).unbind(1)
    a, b, c = triangles.unbind(1)
    parts = torch.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], 1)
    return torch.cat([even, odd]), parts.reshape(-1, 3)


def encoded_normals(normals: Tensor, down: bool = False) -> np.ndarray:
    """Normals [..., 3] as the colours of a map, 0 to 1; `down`: with green down the map, as DirectX has it."""
    signs = normals.new_tensor([1, -1 if down else 1, 1])
    return ((normals * signs + 1) / 2).double().numpy()


def _mean(values: Tensor, corner: Tensor, weight: Tensor) -> Tensor:
    """Values [P, C] interpolated in triangles [T, 3] with weights [T, 3]."""
    return sum((weight[:, k : k + 1] * values[corner[:, k]] for k in range(3)), torch.zeros(1))


def _in_finer(triangles: Tensor, triangle: Tensor, barycentric: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices and weights [T, 3] in refined triangles [F * 4^LEVELS, 3] of points told in the coarse ones."""
    for _ in range(LEVELS):
        most, which = barycentric.max(-1)
        at_corner = most > 0.5
        outer = 2 * barycentric - torch.eye(3)[which]
        inner = 1 - 2 * barycentric.roll(1, -1)  # ab lies across from c
        triangle = 4 * triangle + torch.where(at_corner, which, 3)
        barycentric = torch.where(at_corner[:, None], outer, inner)
    return triangles[triangle], barycentric
