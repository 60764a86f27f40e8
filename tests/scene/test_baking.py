"""Baking vertex values to maps, and looking maps up again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torch import Tensor

from nextface.scene import Mesh
from nextface.scene.baking import bake_vertices, sample_map, texel_points


def two_charts(dtype: torch.dtype = torch.float64) -> Mesh:
    """Two round charts of one sheet; the vertices between them have a UV in each."""
    generator = np.random.default_rng(2)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], 1)
    inner = rim[:30].repeat(4, 0) * generator.uniform(0.05, 0.9, (120, 1)) * generator.uniform(0.5, 1, (120, 1))
    points = np.concatenate([rim, inner + generator.normal(0, 0.01, inner.shape)])
    disk = Delaunay(points).simplices
    uvs = np.concatenate([0.25 + 0.2 * points, 0.72 + 0.23 * points])
    uv_triangles = np.concatenate([disk, disk + len(points)])
    triangles = np.concatenate([disk, np.where(disk < 40, disk, disk + len(points))])  # they share the rim
    plane = np.concatenate([points, points * 1.1, np.zeros_like(points)])[: triangles.max() + 1]
    vertices = torch.tensor(np.concatenate([plane, np.ones((len(plane), 1))], 1), dtype=dtype)
    return Mesh.from_vertices(
        vertices[None],
        torch.tensor(triangles).long(),
        torch.tensor(uvs, dtype=dtype),
        torch.tensor(uv_triangles).long(),
    )


def places_in_charts(mesh: Mesh, count: int, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Random triangles [P], weights [P, 3] and UVs [P, 2], at least `margin` (UV) from a chart's rim."""
    generator = torch.Generator().manual_seed(4)
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    triangle = torch.randint(len(mesh.triangles), (count,), generator=generator)
    weights = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    uv = (mesh.uvs[mesh.uv_triangles[triangle]] * weights[..., None]).sum(1)
    first = triangle < len(mesh.triangles) // 2
    middle = torch.where(first, 0.25, 0.72)[:, None]
    radius = torch.where(first, 0.2, 0.23)
    inside = (uv - middle).norm(dim=1) < radius * np.cos(np.pi / 40) - margin
    return triangle[inside], weights[inside], uv[inside]


def test_texel_centres() -> None:
    mesh = two_charts()
    resolution = 64
    points = texel_points(mesh, resolution)
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    uv = (mesh.uvs[mesh.uv_triangles[points.triangle]] * points.barycentric[..., None]).sum(2)
    row, column = torch.meshgrid(torch.arange(resolution), torch.arange(resolution), indexing="ij")
    centre = torch.stack([(column + 0.5) / resolution, 1 - (row + 0.5) / resolution], -1).double()
    assert torch.allclose(uv[points.covered], centre[points.covered], atol=1e-12)
    area = torch.pi * (0.2**2 + 0.23**2)
    assert abs(float(points.covered.double().mean()) - area) < 0.01
    # An uncovered texel stands for the chart's nearest point, to within a texel.
    gap = (uv - centre).norm(dim=-1)
    distance = torch.stack([(centre - 0.25).norm(dim=-1) - 0.2, (centre - 0.72).norm(dim=-1) - 0.23]).amin(0)
    assert float((gap - distance)[~points.covered].max()) < 1 / resolution


def test_linear_functions_are_exact() -> None:
    mesh = two_charts()
    resolution = 64
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    # Linear over each chart: what a vertex holds need not be linear in space, only in its own chart.
    slope = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)
    values = torch.zeros(1, mesh.vertices.shape[1], 2, dtype=torch.float64)
    values[0, :, :] = mesh.vertices[0, :, :2] @ slope
    baked = bake_vertices(values, mesh, resolution)
    triangle, weights, uv = places_in_charts(mesh, 3000, margin=1.5 / resolution)
    first = triangle < len(mesh.triangles) // 2
    expected = (values[0, mesh.triangles[triangle]] * weights[..., None]).sum(1)
    found = sample_map(baked, uv)[0]
    assert first.any() and torch.allclose(found[first], expected[first], atol=1e-9)


def test_position_is_recovered_at_every_covered_texel() -> None:
    mesh = two_charts()
    baked = bake_vertices(mesh.vertices, mesh, 64)[0]
    points = texel_points(mesh, 64)
    corners = mesh.vertices[0, mesh.triangles[points.triangle]]
    assert torch.allclose(baked, (corners * points.barycentric[..., None]).sum(2), atol=1e-12)


def test_no_background_bleeds_in() -> None:
    mesh = two_charts()
    values = torch.full((1, mesh.vertices.shape[1], 3), 0.7, dtype=torch.float64)
    baked = bake_vertices(values, mesh, 32)
    assert torch.allclose(baked, torch.full_like(baked, 0.7))
    _, _, uv = places_in_charts(mesh, 2000, margin=0.0)
    assert torch.allclose(sample_map(baked, uv), torch.tensor(0.7, dtype=torch.float64))


def test_rims_are_right_to_a_quarter_texel_and_in_range() -> None:
    mesh = two_charts()
    resolution = 64
    values = mesh.vertices[..., :2].contiguous()
    baked = bake_vertices(values, mesh, resolution)
    assert (
        float(baked.max()) <= float(values.max()) + 1e-12 and float(baked.min()) >= float(values.min()) - 1e-12
    )
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    count = len(mesh.triangles) // 2
    corner, uv = mesh.triangles[:count].flatten(), mesh.uv_triangles[:count].flatten()
    rim = corner < 40
    error = (sample_map(baked, mesh.uvs[uv[rim]])[0] - values[0, corner[rim]]).abs().max()
    a_texel = 1 / (0.2 * resolution)  # the values' change over a texel
    assert float(error) < 0.5 * a_texel


def test_gradient_is_the_transpose() -> None:
    mesh = two_charts()
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(
        2, mesh.vertices.shape[1], 4, generator=generator, dtype=torch.float64
    ).requires_grad_()
    other = torch.randn(2, 32, 32, 4, generator=generator, dtype=torch.float64)
    product = (bake_vertices(values, mesh, 32) * other).sum()
    product.backward()
    assert values.grad is not None
    assert torch.isclose((values.grad * values).sum(), product)  # baking is linear


def test_layouts_are_found_once_and_told_apart() -> None:
    mesh, other = two_charts(), two_charts()
    assert texel_points(mesh, 32) is texel_points(mesh, 32)
    assert texel_points(mesh, 32) is not texel_points(mesh, 16)
    assert texel_points(mesh, 32) is not texel_points(other, 32)


def test_lookup_at_texel_centres_between_and_beyond() -> None:
    values = torch.arange(12, dtype=torch.float64).view(1, 3, 4, 1)
    row, column = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    centres = torch.stack([(column + 0.5) / 4, 1 - (row + 0.5) / 3], -1).double()
    assert torch.allclose(sample_map(values, centres), values, atol=1e-5)
    between = torch.tensor([[0.25, 5 / 6], [0.125, 4 / 6], [0.0, 1.0], [1.0, 0.0]])
    assert torch.allclose(
        sample_map(values, between)[0, :, 0], torch.tensor([0.5, 2.0, 0.0, 11.0]).double(), atol=1e-6
    )


def test_lookup_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 5, 7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = (0.2 + 0.6 * torch.rand(6, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(sample_map, (values, uv))


def test_without_uvs_or_texels() -> None:
    mesh = two_charts()
    with pytest.raises(ValueError, match="no UV"):
        bake_vertices(mesh.vertices, Mesh(mesh.vertices, mesh.normals, mesh.triangles), 32)
    assert mesh.uvs is not None
    with pytest.raises(ValueError, match="no UV triangle covers"):
        bake_vertices(
            mesh.vertices,
            Mesh(mesh.vertices, mesh.normals, mesh.triangles, mesh.uvs * 1e-4, mesh.uv_triangles),
            32,
        )
