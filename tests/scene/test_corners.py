"""Corners: one vertex for each pair of position and UV."""

from __future__ import annotations

from dataclasses import replace

import torch

from nextface.models.open_head import load_open_head
from nextface.scene import Mesh
from nextface.scene.corners import MeshCorners


def square() -> Mesh:
    """Two triangles that share an edge, on two charts."""
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]])
    uvs = torch.tensor([[0.0, 0], [0.4, 0], [0.4, 0.4], [0.6, 0.6], [1, 1], [0.6, 1]])
    return Mesh.from_vertices(
        vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs, torch.tensor([[0, 1, 2], [3, 4, 5]])
    )


def test_vertices_on_a_seam_have_a_corner_for_each_chart() -> None:
    mesh = square()
    corners = MeshCorners.of(mesh)
    assert corners.uv is not None and mesh.uvs is not None and mesh.uv_triangles is not None
    assert corners.vertex.tolist() == [0, 0, 1, 2, 2, 3]
    assert torch.equal(corners.vertex[corners.triangles], mesh.triangles)
    assert torch.equal(corners.uv[corners.triangles], mesh.uv_triangles)
    assert torch.equal(corners.spread(mesh.vertices), mesh.vertices[:, corners.vertex])


def test_every_pair_of_the_head_is_there_once() -> None:
    head = load_open_head()
    mesh = Mesh.from_vertices(head.mean[None], head.triangles, head.uvs, head.uv_triangles)
    corners = MeshCorners.of(mesh)
    assert corners.uv is not None
    pairs = torch.stack([corners.vertex, corners.uv], 1)
    assert len(pairs) == len(pairs.unique(dim=0)) == len({*map(tuple, pairs.tolist())})
    assert torch.equal(corners.vertex[corners.triangles], head.triangles)


def test_without_maps_corners_are_vertices() -> None:
    mesh = square()
    for corners in (MeshCorners.of(mesh, mapped=False), MeshCorners.of(replace(mesh, uvs=None))):
        assert torch.equal(corners.triangles, mesh.triangles)
        assert corners.spread(mesh.vertices) is mesh.vertices


def test_corners_fit_what_moves_but_no_other_topology() -> None:
    mesh = square()
    corners = MeshCorners.of(mesh)
    assert corners.fits(replace(mesh, vertices=mesh.vertices + 1, triangles=mesh.triangles.clone()))
    assert not corners.fits(replace(mesh, triangles=mesh.triangles.flip(0)))
    assert mesh.uvs is not None
    assert not corners.fits(replace(mesh, uvs=mesh.uvs + 0.1))
    assert not corners.fits(mesh, mapped=False)
