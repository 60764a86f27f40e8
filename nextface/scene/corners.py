"""A mesh's corners: one for each pair of a vertex and a UV coordinate that its triangles use.

Vertices on a seam between UV charts have one corner for each side. Renderers and file formats that know one
index for everything take corners for vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.scene.scene import Mesh


@dataclass(frozen=True, eq=False)
class MeshCorners:
    """The corners of one topology, by vertex and then by UV coordinate."""

    vertex: Tensor  # [P] int64, each corner's vertex
    uv: Tensor | None  # [P] int64, each corner's UV coordinate; None without UVs
    triangles: Tensor  # [F, 3] int64, corners
    source: tuple[Tensor | None, ...]  # the tensors that this was made from

    @classmethod
    def of(cls, mesh: Mesh, mapped: bool = True) -> MeshCorners:
        """The corners of a mesh; without `mapped` or UVs, its vertices."""
        source = topology(mesh, mapped)
        if mesh.uvs is None or mesh.uv_triangles is None or not mapped:
            vertex = torch.arange(mesh.vertices.shape[1], device=mesh.triangles.device)
            return cls(vertex, None, mesh.triangles, source)
        code = mesh.triangles * len(mesh.uvs) + mesh.uv_triangles
        pairs, triangles = torch.unique(code, return_inverse=True)
        vertex = torch.div(pairs, len(mesh.uvs), rounding_mode="floor")
        return cls(vertex, pairs % len(mesh.uvs), triangles, source)

    def fits(self, mesh: Mesh, mapped: bool = True) -> bool:
        """Whether a mesh has this topology, so that its corners are these."""
        return same_topology(self.source, topology(mesh, mapped))

    def spread(self, values: Tensor) -> Tensor:
        """Values [..., P, C] at the corners of values [..., V, C] at the vertices; differentiable."""
        return values if self.uv is None else values.index_select(-2, self.vertex)


def topology(mesh: Mesh, mapped: bool) -> tuple[Tensor | None, ...]:
    """What of a mesh stays while it moves; without `mapped`, its UVs do not count."""
    return (mesh.triangles, mesh.uvs, mesh.uv_triangles) if mapped else (mesh.triangles,)


def same_topology(one: tuple[Tensor | None, ...], other: tuple[Tensor | None, ...]) -> bool:
    """Whether two `topology`s are equal; those of one tensor are found so without looking at it."""
    return len(one) == len(other) and all(map(_same, one, other))


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is other or one is None or other is None:
        return one is other
    return one.device == other.device and one.shape == other.shape and torch.equal(one, other)
