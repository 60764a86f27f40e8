"""The z-buffer against ray casting, its fill rule, and derivatives of what it interpolates."""

from __future__ import annotations

import math
import platform

import cv2
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import Delaunay
from torch import Tensor

from nextface.scene import Camera, Environment, Material, Mesh, Scene, raster
from nextface.scene.geometry import rotation_matrix
from nextface.scene.raster import Fragments, camera_barycentric, interpolate, rasterize, rasterize_scene

SIZE = 64


def bumpy_scene(dtype: torch.dtype = torch.float64, size: int = SIZE) -> Scene:
    """A bumpy ball that partly hides itself, off centre, close to the camera."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    direction = torch.tensor(np.array(ball.vertices), dtype=dtype)
    vertices = direction * (100 + 25 * torch.sin(5 * direction).prod(1, keepdim=True) * 4)
    camera = Camera(
        torch.tensor([[[1.1 * size, 0.3, 0.55 * size], [0, 1.05 * size, 0.45 * size], [0, 0, 1]]], dtype=dtype),
        torch.tensor([[3.0, 0.3, -0.2]], dtype=dtype),
        torch.tensor([[8.0, -5.0, 300.0]], dtype=dtype),
        size,
        size - 8,
    )
    values = torch.ones(1, len(vertices), 1, dtype=dtype)
    return Scene(
        Mesh.from_vertices(vertices[None], torch.tensor(np.array(ball.faces)).long()),
        Material(values.expand(-1, -1, 3), values, values),
        Environment(torch.ones(1, 4, 8, 3, dtype=dtype)),
        camera,
    )


def pixel_rays(camera: Camera) -> np.ndarray:
    """Camera-space directions [H * W, 3] through the pixel centres."""
    row, column = np.mgrid[: camera.height, : camera.width]
    centres = np.stack([column + 0.5, row + 0.5, np.ones_like(row)], -1).reshape(-1, 3)
    return centres @ np.linalg.inv(camera.intrinsics[0].numpy()).T


def cast_rays(rays: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest triangle [R] (-1: none) and weights [R, 3] of rays from the origin, triangle by triangle."""
    nearest, triangle, weights = np.full(len(rays), np.inf), np.full(len(rays), -1), np.zeros((len(rays), 3))
    for number, corner in enumerate(corners):
        solved = rays @ np.linalg.inv(corner)  # ray = combination of the corners
        distance = 1 / solved.sum(1)
        hit = (solved * distance[:, None] >= 0).all(1) & (distance > 0) & (distance < nearest)
        nearest[hit], triangle[hit], weights[hit] = distance[hit], number, (solved * distance[:, None])[hit]
    return triangle, weights


def test_equals_ray_casting() -> None:
    scene = bumpy_scene()
    seen = scene.camera.transform(scene.mesh.vertices)[0]
    fragments = rasterize_scene(scene)
    triangle, weights = cast_rays(pixel_rays(scene.camera), seen[scene.mesh.triangles].numpy())
    shape = fragments.triangle.shape
    assert np.array_equal(fragments.triangle.numpy(), triangle.reshape(shape))
    assert 0.3 < float(fragments.covered.double().mean()) < 0.9
    assert np.allclose(fragments.barycentric.numpy(), weights.reshape(*shape, 3), atol=1e-9)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="embreex has no package for this machine")
def test_equals_embree() -> None:
    scene = bumpy_scene(size=256)
    seen = scene.camera.transform(scene.mesh.vertices)[0].numpy()
    solid = trimesh.Trimesh(seen, scene.mesh.triangles.numpy(), process=False)
    rays = pixel_rays(scene.camera)
    hit = solid.ray.intersects_first(np.zeros_like(rays), rays)
    fragments = rasterize_scene(scene)
    same = fragments.triangle.numpy().ravel() == hit
    assert same.mean() > 0.998
    # Embree works in float32: it may differ where a ray meets an edge, nowhere else.
    at_edge = fragments.barycentric.min(-1).values.numpy().ravel() < 2e-3
    assert (same | at_edge).all()


def test_float32_sees_the_same() -> None:
    exact, rounded = rasterize_scene(bumpy_scene()), rasterize_scene(bumpy_scene(torch.float32))
    same = exact.triangle == rounded.triangle
    assert float(same.double().mean()) > 0.998
    assert rounded.barycentric.dtype == torch.float32
    assert float((exact.barycentric - rounded.barycentric)[same].abs().max()) < 2e-3


def test_every_pixel_has_one_owner() -> None:
    generator = np.random.default_rng(0)
    # Corners on pixel centres, and edges through them: every tie that there is.
    inner = generator.integers(1, 31, (60, 2)) + 0.5
    frame = np.array([(0.5, 0.5), (0.5, 31.5), (31.5, 0.5), (31.5, 31.5)])
    points = np.unique(np.concatenate([inner, frame]), axis=0)
    triangles = torch.tensor(Delaunay(points).simplices).long()
    flat, depth = torch.tensor(points), torch.ones(len(points))
    owners = sum(rasterize(flat, depth, face[None], 32, 32).covered.int() for face in triangles)
    assert torch.equal(owners[:31, :31], torch.ones(31, 31, dtype=torch.int32))
    assert rasterize(flat, depth, triangles, 32, 32).covered[:31, :31].all()


def test_closed_surface_has_no_pinholes() -> None:
    ball = trimesh.creation.icosphere(subdivisions=5)
    points = torch.tensor(np.array(ball.vertices[:, :2])).float() * 100 + 128.3
    depth = torch.tensor(np.array(ball.vertices[:, 2])).float() + 5
    covered = rasterize(points, depth, torch.tensor(np.array(ball.faces)).long(), 256, 256).covered
    row, column = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    inside = (row + 0.5 - 128.3) ** 2 + (column + 0.5 - 128.3) ** 2 < 99.5**2
    assert covered[inside].all()


def test_pieces_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rasterize_scene(bumpy_scene())
    monkeypatch.setattr(raster, "PIXELS_AT_ONCE", 100)
    pieces = rasterize_scene(bumpy_scene())
    assert torch.equal(whole.triangle, pieces.triangle) and torch.equal(whole.barycentric, pieces.barycentric)


def test_screen_filling_triangle_and_equal_depth() -> None:
    far_out = torch.tensor([(-1e7, -1e7), (3e7, -1e7), (-1e7, 3e7)])
    fragments = rasterize(far_out, torch.ones(3), torch.tensor([[0, 1, 2], [0, 1, 2]]), 300, 200)
    assert (fragments.triangle == 0).all()  # the smaller number wins a tie


def test_what_is_behind_the_camera_or_not_finite_is_not_drawn() -> None:
    points = torch.tensor([(0.0, 0), (20, 0), (0, 20), (float("nan"), 3)])
    triangle = torch.tensor([[0, 1, 2]])
    for depth in ([1.0, 1, -1, 1], [1.0, 1, 0, 1], [1.0, 1, float("inf"), 1], [1.0, 1, float("nan"), 1]):
        assert not rasterize(points, torch.tensor(depth), triangle, 9, 9).covered.any()
    assert not rasterize(points, torch.ones(4), torch.tensor([[0, 1, 3]]), 9, 9).covered.any()
    assert not rasterize(points, torch.ones(4), torch.tensor([[0, 1, 1]]), 9, 9).covered.any()
    assert not rasterize(points, torch.ones(4), torch.zeros(0, 3).long(), 9, 9).covered.any()
    assert not rasterize(points + 100, torch.ones(4), triangle, 9, 9).covered.any()
    assert rasterize(points, torch.ones(4), triangle, 9, 9).covered.all()


def test_head_around_the_camera_is_survived() -> None:
    scene = bumpy_scene()
    inside = Camera(scene.camera.intrinsics, scene.camera.rotation, scene.camera.translation * 0, SIZE, SIZE)
    fragments = rasterize_scene(Scene(scene.mesh, scene.material, scene.environment, inside))
    assert float(fragments.covered.double().mean()) > 0.9 and fragments.barycentric.isfinite().all()


def test_backfaces_can_be_left_out() -> None:
    scene = bumpy_scene()
    both, front = rasterize_scene(scene), rasterize_scene(scene, cull_backfaces=True)
    assert torch.equal(both.triangle, front.triangle)  # a closed surface shows no backfaces
    turned = Mesh.from_vertices(scene.mesh.vertices, scene.mesh.triangles.flip(1))
    inside_out = rasterize_scene(
        Scene(turned, scene.material, scene.environment, scene.camera), cull_backfaces=True
    )
    assert (inside_out.triangle != both.triangle)[both.covered].all()


def test_one_photo_at_a_time() -> None:
    with pytest.raises(ValueError, match="scene\\[i\\]"):
        scene = bumpy_scene()
        twice = Mesh(scene.mesh.vertices.repeat(2, 1, 1), scene.mesh.normals, scene.mesh.triangles)
        rasterize_scene(Scene(twice, scene.material, scene.environment, scene.camera))


def test_projection_equals_opencv() -> None:
    scene = bumpy_scene()
    camera, points = scene.camera, scene.mesh.vertices
    intrinsics = camera.intrinsics[0].clone()
    intrinsics[0, 1] = 0  # OpenCV has no skew
    straight = Camera(intrinsics[None], camera.rotation, camera.translation, SIZE, SIZE)
    expected, _ = cv2.projectPoints(
        points[0].numpy(), camera.rotation[0].numpy(), camera.translation[0].numpy(), intrinsics.numpy(), None
    )
    assert np.allclose(straight.project(points)[0].numpy(), expected[:, 0], atol=1e-9)
    rotation, _ = cv2.Rodrigues(camera.rotation[0].numpy())
    assert np.allclose(rotation_matrix(camera.rotation)[0].numpy(), rotation, atol=1e-12)


def test_interpolation_is_perspective_correct() -> None:
    scene = bumpy_scene()
    seen = scene.camera.transform(scene.mesh.vertices)[0]
    fragments = rasterize_scene(scene)
    points = interpolate(fragments, scene.mesh.triangles, seen)
    image = points @ scene.camera.intrinsics[0].T
    row, column = torch.meshgrid(*(torch.arange(n) for n in fragments.triangle.shape), indexing="ij")
    centres = (torch.stack([column, row], -1) + 0.5).double()
    covered = fragments.covered
    assert torch.allclose((image[..., :2] / image[..., 2:])[covered], centres[covered], atol=1e-9)
    assert (points[~covered] == 0).all()


def test_recomputed_weights_are_the_same() -> None:
    scene = bumpy_scene()
    seen = scene.camera.transform(scene.mesh.vertices)[0]
    fragments = rasterize_scene(scene)
    again = camera_barycentric(fragments, scene.mesh.triangles, seen, scene.camera.intrinsics[0])
    assert torch.equal(again.triangle, fragments.triangle)
    assert torch.allclose(again.barycentric, fragments.barycentric, atol=1e-9)


def test_gradients_of_interpolation() -> None:
    scene = bumpy_scene()
    fragments = rasterize_scene(scene)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(*fragments.triangle.shape, 2, generator=generator, dtype=torch.float64)
    values = torch.randn(scene.mesh.vertices.shape[1], 2, generator=generator, dtype=torch.float64)
    inputs = [scene.camera.transform(scene.mesh.vertices)[0], scene.camera.intrinsics[0], values]
    steps = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in inputs]
    steps[1][2] = 0

    def loss(points: Tensor, intrinsics: Tensor, values: Tensor) -> Tensor:
        moved: Fragments = camera_barycentric(fragments, scene.mesh.triangles, points, intrinsics)
        return (interpolate(moved, scene.mesh.triangles, values) * weight).sum()

    leaves = [x.clone().requires_grad_() for x in inputs]
    loss(*leaves).backward()
    size = 1e-6
    for number, step in enumerate(steps):
        ahead, behind = list(inputs), list(inputs)
        ahead[number], behind[number] = inputs[number] + size * step, inputs[number] - size * step
        expected = float(loss(*ahead) - loss(*behind)) / (2 * size)
        gradient = leaves[number].grad
        assert gradient is not None
        assert math.isclose(float((gradient * step).sum()), expected, rel_tol=1e-4)
