"""Gradients of moving outlines and shadows, against finite differences of the very images that they are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from benchmarks.parity.measures import (
    PARAMETERS,
    Plan,
    changes,
    derivative_error,
    derivatives,
    loss_weights,
)
from benchmarks.parity.scenes import CASES
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.lighting import map_directions
from renderers.mitsuba.edges.mesh_edges import Edges, draw_places
from renderers.mitsuba.renderer import MitsubaRenderer

SIZE = 48


@pytest.fixture(scope="module")
def renderers_():
    torch.set_num_threads(1)
    pair = MitsubaRenderer("cpu", visibility_gradients=True), MitsubaRenderer("cpu")
    yield pair
    for renderer in pair:
        renderer.close()


def waves() -> Tensor:
    """Weights of a loss [SIZE, SIZE, 4] that say where in the picture something happens."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    return torch.stack(
        [1 + (x / 7).sin(), 1 + (y / 6).cos(), 1 + ((x + y) / 8).sin(), (x / 5).cos() + (y / 9).sin()], -1
    )


def with_value(scene: Scene, key: str, value: Tensor) -> Scene:
    if key == "vertices":
        mesh = scene.mesh
        return replace(scene, mesh=Mesh.from_vertices(value, mesh.triangles, mesh.uvs, mesh.uv_triangles))
    return replace(scene, camera=replace(scene.camera, **{key: value}))


def value_of(scene: Scene, key: str) -> Tensor:
    return scene.mesh.vertices if key == "vertices" else getattr(scene.camera, key)


Loss = Callable[[Tensor], Tensor]


def slopes(
    pair: tuple[MitsubaRenderer, MitsubaRenderer],
    scene: Scene,
    key: str,
    steps: list[Tensor],
    loss: Loss,
    samples: int,
) -> tuple[Tensor, Tensor]:
    """Derivatives of a loss along steps: by gradient, and by central differences with common random numbers."""
    aware, plain = pair
    start = value_of(scene, key)
    leaf = start.clone().requires_grad_()
    value = loss(aware.render(with_value(scene, key, leaf), samples, 1)[0])
    (gradient,) = torch.autograd.grad(value, leaf)
    found = torch.stack([(gradient * step).sum() for step in steps])

    def at(shift: Tensor) -> Tensor:
        return loss(plain.render(with_value(scene, key, start + shift), 2 * samples, 2)[0])

    expected = torch.stack([(at(step) - at(-step)) / 2 for step in steps])
    return found, expected


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 0.05) -> None:
    error = float((found - expected).norm() / expected.norm())
    assert error < tolerance, f"{error:.3f}: {found.tolist()} against {expected.tolist()}"


SHIFTS = [torch.tensor([shift]) for shift in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, 5.0])]


def test_head_is_drawn_to_a_mask(renderers_):
    """Moving the head to where a mask says it should be: the loss's slope is that of finite differences."""
    scene = CASES["face-diffuse-sh9"].scene(SIZE)
    moved = with_value(scene, "translation", scene.camera.translation + torch.tensor([[6.0, -4, 30]]))
    mask = (renderers_[1].render(moved, 64, 3)[0, ..., 3] > 0.5).float()

    def loss(image: Tensor) -> Tensor:
        return (image[..., 3] - mask).square().sum()

    half_steps = [step / 2 for step in SHIFTS]
    found, expected = slopes(renderers_, scene, "translation", half_steps, loss, 256)
    assert_close(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0.05)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("sphere-diffuse-sh9", "vertices"),
        ("sphere-glossy-0.5-high-frequency", "intrinsics"),
        ("face-diffuse-side", "vertices"),  # the nose's shadow lies on the cheek, and moves with it
        ("face-diffuse-side", "pose"),
    ],
)
def test_whole_image(renderers_, case, name):
    """Within 5 %, as far as the noise of finite differences lets that be told."""
    aware, plain = renderers_
    scene = CASES[case].scene(SIZE)
    parameter = next(item for item in PARAMETERS if item.name == name)
    guide, change = (changes(plain, scene, parameter, Plan(256, seed)) for seed in (1, 2))
    loss = loss_weights(guide, torch.ones(SIZE, SIZE, 1))
    found = derivatives(aware, scene, parameter, loss, Plan(256, 3))
    error = derivative_error(found, guide, change, loss)
    assert error.error < 0.05 + error.noise, error
    assert error.noise < 0.05, error
    blind = derivative_error(derivatives(plain, scene, parameter, loss, Plan(256, 3)), guide, change, loss)
    assert blind.error > 0.3, "the scene tells nothing about outlines"


def plate(half_width: float) -> tuple[Tensor, Tensor]:
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return half_width * corners, torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("tilt", [0.0, 0.3], ids=["level", "tilted"])
def test_shadow_of_a_plate_on_another(renderers_, tilt):
    """Nothing moves in the loss's part of the picture but a shadow: all of its gradient is the shadow's."""
    below, faces = plate(100.0)
    above, _ = plate(25.0)
    tilted = torch.stack([above[:, 0], above[:, 1], tilt * above[:, 0]], -1)
    vertices = torch.cat([below, tilted + torch.tensor([70.0, 10, 60])])[None]
    mesh = Mesh.from_vertices(vertices, torch.cat([faces, faces + 4]))
    values = torch.full((1, 8, 1), 0.5)
    lamp = torch.nn.functional.normalize(torch.tensor([0.75, 0.1, 0.65], dtype=torch.float64), dim=0)
    radiance = (20 * (150 * (map_directions(32) @ lamp - 1)).exp()).float()[None, ..., None].repeat(1, 1, 1, 3)
    focal = SIZE * 600 / 260
    camera = Camera(
        torch.tensor([[[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]]]),
        torch.tensor([[np.pi, 0, 0]], dtype=torch.float32),
        torch.tensor([[0.0, 0, 600]]),
        SIZE,
        SIZE,
    )
    scene = Scene(
        mesh, Material(values.repeat(1, 1, 3), 0 * values, 0 * values + 1), Environment(radiance), camera
    )
    weights = waves() * (torch.arange(SIZE) < 27)[None, :, None] * torch.tensor([1.0, 1, 1, 0])
    upper = torch.zeros(8, 1).index_fill(0, torch.arange(4, 8), 1.0)
    steps = [upper * shift for shift in SHIFTS]
    found, expected = slopes(renderers_, scene, "vertices", steps, lambda image: (image * weights).sum(), 1024)
    assert expected.abs().min() > 0.05 * expected.abs().max()
    assert_close(found, expected)


def test_only_vertices_and_camera_change_and_only_when_asked(renderers_):
    scene = CASES["face-diffuse-sh9"].scene(SIZE)
    leaves = {
        "vertices": scene.mesh.vertices.clone().requires_grad_(),
        "diffuse": scene.material.diffuse.clone().requires_grad_(),
    }
    drawn = replace(
        scene,
        mesh=replace(scene.mesh, vertices=leaves["vertices"]),
        material=replace(scene.material, diffuse=leaves["diffuse"]),
    )
    results = []
    for renderer in renderers_:
        image = renderer.render(drawn, 4, 5)
        by_alpha = torch.autograd.grad(image[..., 3].sum(), leaves["vertices"], retain_graph=True)[0]
        results.append((image.detach(), by_alpha, torch.autograd.grad(image.sum(), list(leaves.values()))))
    (image, by_alpha, gradients), (plain_image, plain_by_alpha, plain_gradients) = results
    assert torch.equal(image, plain_image)
    assert by_alpha.abs().sum() > 1 and plain_by_alpha.eq(0).all()
    np.testing.assert_allclose(gradients[1], plain_gradients[1], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradients[0], plain_gradients[0])


def test_gradients_with_a_seed_repeat_and_few_kernels_serve_all_calls(renderers_):
    """Dr.Jit writes some kernels in two orders, by chance; a kernel for each call would be a defect."""
    import drjit as dr

    scene = CASES["face-diffuse-side"].scene(SIZE)
    kernels: list[set[str]] = []

    def gradient(shift: float, seed: int) -> Tensor:
        leaf = (scene.camera.translation + shift).requires_grad_()
        with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
            dr.kernel_history_clear()
            image = renderers_[0].render(with_value(scene, "translation", leaf), 4, seed)
            found = torch.autograd.grad(image.sum(), leaf)[0]
            kernels.append({kernel["hash"] for kernel in dr.kernel_history() if "hash" in kernel})
        return found

    first = gradient(0, 1)
    for call in range(12):
        gradient(call - 3.0, 2 + call)
    again = gradient(0, 1)
    assert len(set().union(*kernels) - kernels[0]) < 12
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-3 * float(first.norm()))


def test_a_scene_without_outlines_or_light_is_no_error(renderers_):
    """The camera inside a closed ball of which it sees the back sides, in the dark."""
    scene = CASES["sphere-diffuse-sh9"].scene(SIZE)
    leaf = (0 * scene.camera.translation).requires_grad_()
    dark = replace(scene, environment=Environment(torch.zeros_like(scene.environment.radiance)))
    image = renderers_[0].render(with_value(dark, "translation", leaf), 2, 1)
    (gradient,) = torch.autograd.grad(image.sum(), leaf)
    assert image[..., 3].eq(1).all()
    assert gradient.isfinite().all() and gradient.norm() < 1e-3


# Edges


def test_edges_of_a_cube_are_ridges_or_flat():
    box = trimesh.creation.box()
    triangles = torch.tensor(np.asarray(box.faces), dtype=torch.int64)
    positions = torch.tensor(np.asarray(box.vertices), dtype=torch.float64)
    edges = Edges.of(triangles, triangles)
    normals = edges.normals(positions)
    assert len(edges.face) == 18 and not edges.open.any()
    ridges = edges.ridges(positions, normals)
    assert int(ridges.sum()) == 12  # and six diagonals
    start, end = edges.ends(positions, ridges.nonzero()[:, 0])
    np.testing.assert_allclose((end - start).norm(dim=1), 1)
    inside_out = Edges.of(triangles.flip(1), triangles.flip(1))
    assert not inside_out.ridges(positions, inside_out.normals(positions)).any()
    for other in (False, True):
        apex = edges.apex(positions, torch.arange(18), torch.full((18,), other))
        start, end = edges.ends(positions, torch.arange(18))
        face = positions[triangles[edges.other_face if other else edges.face]]
        np.testing.assert_allclose((apex + start + end) / 3, face.mean(1))


def test_open_edges_and_texture_seams():
    """Two triangles that share an edge but no corner of the texture: five edges, of which four are open."""
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    edges = Edges.of(triangles, torch.tensor([[0, 1, 2], [3, 4, 5]]))
    assert len(edges.face) == 5 and int(edges.open.sum()) == 4
    fan = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])  # three faces at one edge
    assert Edges.of(fan, fan).open.all() and len(Edges.of(fan, fan).face) == 9


def test_places_follow_weights():
    places = draw_places(torch.tensor([1.0, 0, 3, 0], dtype=torch.float64), 4000, 1)
    assert places.item.bincount(minlength=4).tolist() == [1000, 0, 3000, 0]
    np.testing.assert_allclose((1 / places.density).sum(), 2)  # each item has a length of 1
    for item in (0, 2):
        assert places.along[places.item == item].mean() == pytest.approx(0.5, abs=0.01)
    assert len(draw_places(torch.zeros(3, dtype=torch.float64), 10, 1).item) == 0
