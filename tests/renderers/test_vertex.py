"""The vertex renderer against closed forms, brute-force integrals and finite differences."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor
from torch.nn.functional import normalize

from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import bake_vertices
from nextface.scene.lighting import evaluate_map, map_directions, positive_lobes, sh_basis, to_light_frame
from nextface.scene.prefiltered import shade
from nextface.scene.raster import interpolate, rasterize_scene
from renderers.vertex.renderer import VertexRenderer

SIZE = 96
DOUBLE = torch.float64
RADIUS = 100.0


def ball(subdivisions: int = 4) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] and triangles [F, 3] of a ball."""
    solid = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS)
    return torch.tensor(np.array(solid.vertices)), torch.tensor(np.array(solid.faces)).long()


def camera() -> Camera:
    return Camera(
        torch.tensor([[[2.2 * SIZE, 0, 0.5 * SIZE], [0, 2.2 * SIZE, 0.48 * SIZE], [0, 0, 1]]], dtype=DOUBLE),
        torch.tensor([[math.pi, 0.1, 0.05]], dtype=DOUBLE),
        torch.tensor([[3.0, 2.0, 600.0]], dtype=DOUBLE),
        SIZE,
        SIZE,
    )


def scene_of(radiance: Tensor, diffuse: float, specular: float, roughness: float) -> Scene:
    """A ball of one material under a map [H, 2H, 3], with the exact normals of a ball."""
    vertices, triangles = ball()
    values = torch.ones(1, len(vertices), 1, dtype=DOUBLE)
    return Scene(
        Mesh(vertices[None], vertices[None] / RADIUS, triangles),
        Material(values.expand(-1, -1, 3) * diffuse, values * specular, values * roughness),
        Environment(radiance[None]),
        camera(),
    )


def lamps(seed: int = 0, bands: int = 9) -> Tensor:
    """Coefficients [bands^2, 3] of a non-negative light: a dim surround and three coloured lamps."""
    generator = torch.Generator().manual_seed(seed)
    power = 0.05 * torch.rand(200, 3, generator=generator, dtype=DOUBLE)
    power[torch.randint(200, (3,), generator=generator)] += 2 * torch.rand(
        3, 3, generator=generator, dtype=DOUBLE
    )
    return positive_lobes(bands, 200) @ power


def reflected(
    light: Tensor, normal: Tensor, view: Tensor, f0: float, roughness: float, steps: int = 240
) -> Tensor:
    """Radiance [3] that the GGX lobe reflects, by quadrature over the hemisphere."""
    nodes, node_weights = np.polynomial.legendre.leggauss(steps)
    up = torch.tensor((nodes + 1) / 2)[:, None].expand(-1, steps).flatten()
    solid = torch.tensor(node_weights * math.pi / steps)[:, None].expand(-1, steps).flatten()
    azimuth = (2 * math.pi * (torch.arange(steps, dtype=DOUBLE) + 0.5) / steps).repeat(steps)
    level = (1 - up * up).sqrt()
    helper = torch.eye(3, dtype=DOUBLE)[int(normal.abs().argmin())]
    side = normalize(torch.linalg.cross(normal, helper), dim=0)
    frame = torch.stack([side, torch.linalg.cross(normal, side), normal])
    incoming = torch.stack([level * azimuth.cos(), level * azimuth.sin(), up], 1) @ frame
    half = normalize(incoming + view, dim=1)
    n_v, n_h, v_h = normal @ view, half @ normal, half @ view
    alpha = roughness**2
    density = alpha**2 / (math.pi * (n_h**2 * (alpha**2 - 1) + 1) ** 2)

    def smith(cosine: Tensor) -> Tensor:
        return ((1 + alpha**2 * (1 / cosine**2 - 1)).sqrt() - 1) / 2

    fresnel = f0 + (1 - f0) * (1 - v_h) ** 5
    weight = solid * fresnel * density / (1 + smith(up) + smith(n_v)) / (4 * n_v)
    return weight @ (sh_basis(incoming, math.isqrt(len(light))) @ light)


def specular_only(light: Tensor, normals: Tensor, views: Tensor, f0: float, roughness: float) -> Tensor:
    ones = torch.ones(len(normals), 1, dtype=DOUBLE)
    return shade(light, normals, views, 0 * normals, f0 * ones, roughness * ones)


def random_directions(n_v: float, count: int) -> tuple[Tensor, Tensor]:
    """Normals and views [count, 3] that are an angle with cosine `n_v` apart."""
    generator = torch.Generator().manual_seed(7)
    normals, others = normalize(torch.randn(2, count, 3, generator=generator, dtype=DOUBLE), dim=-1)
    aside = normalize(torch.linalg.cross(normals, others), dim=1)
    return normals, n_v * normals + (1 - n_v**2) ** 0.5 * aside


def test_white_ball_in_white_light_is_white() -> None:
    radiance = torch.ones(16, 32, 3, dtype=DOUBLE)
    drawn = [VertexRenderer().render(scene_of(radiance, albedo, 0.04, 0.5), 1, 0) for albedo in (0.8, 0.0)]
    diffuse, alpha = drawn[0][..., :3] - drawn[1][..., :3], drawn[0][..., 3]
    assert set(alpha.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(diffuse[alpha == 1], torch.tensor(0.8, dtype=DOUBLE), atol=1e-9)
    assert (drawn[0][alpha == 0] == 0).all()


def test_ball_in_a_linear_light_is_linear_in_the_normal() -> None:
    """Radiance a + b.d gives the irradiance pi (a + 2/3 b.n): the first two bands of the clamped cosine."""
    direction = torch.tensor([0.4, 0.7, -0.2], dtype=DOUBLE)
    radiance = (1 + map_directions(16) @ direction)[..., None].expand(-1, -1, 3)
    scene = scene_of(radiance, 0.5, 0.04, 0.5)
    black = scene.with_material(replace(scene.material, diffuse=scene.material.diffuse * 0))
    renderer = VertexRenderer()
    diffuse = (renderer.render(scene, 1, 0) - renderer.render(black, 1, 0))[0, ..., 0]
    fragments = rasterize_scene(scene)
    normals = to_light_frame(scene.camera.rotate(scene.mesh.normals)[0])
    expected = 0.5 * (1 + 2 / 3 * interpolate(fragments, scene.mesh.triangles, normals) @ direction)
    assert torch.allclose(diffuse[fragments.covered], expected[fragments.covered], atol=1e-4)


def test_light_from_above_lights_the_upper_half_of_the_image() -> None:
    scene = scene_of(map_directions(16)[..., 1:2].clamp(min=0).expand(-1, -1, 3), 0.5, 0.04, 0.5)
    image = VertexRenderer().render(scene, 1, 0)[0, ..., 0]
    assert image[: SIZE // 2].sum() > 3 * image[SIZE // 2 :].sum()


@pytest.mark.parametrize(("roughness", "bound"), [(0.3, 0.05), (0.5, 0.05), (0.8, 0.02)])
def test_specular_equals_quadrature(roughness: float, bound: float) -> None:
    squared, total = 0.0, 0.0
    for n_v in (0.97, 0.7, 0.4):
        normals, views = random_directions(n_v, 3)
        for seed in range(2):
            light = lamps(seed)
            expected = torch.stack(
                [reflected(light, n, v, 0.04, roughness) for n, v in zip(normals, views, strict=True)]
            )
            found = specular_only(light, normals, views, 0.04, roughness)
            squared += float((found - expected).square().sum())
            total += float(expected.square().sum())
    assert (squared / total) ** 0.5 < bound


@pytest.mark.parametrize("roughness", [0.35, 0.6, 1.0])
def test_specular_furnace(roughness: float) -> None:
    """Under uniform light the lobe with F = 1 reflects at most 1, and what quadrature says."""
    light = torch.zeros(81, 3, dtype=DOUBLE)
    light[0] = 2 * math.sqrt(math.pi)
    for n_v in (0.98, 0.6, 0.25):
        normals, views = random_directions(n_v, 1)
        for f0 in (0.04, 1.0):
            expected = reflected(light[:1], normals[0], views[0], f0, roughness, 600)
            found = specular_only(light, normals, views, f0, roughness)[0]
            assert float(found.max()) <= 1.0
            assert torch.allclose(found, expected, rtol=5e-3)


def test_non_negative_light_gives_no_negative_colour() -> None:
    scene = scene_of(evaluate_map(lamps()[None], 32)[0], 0.5, 0.05, 0.3)
    assert float(VertexRenderer().render(scene, 1, 0).min()) >= 0


def textured_scene(mapped: bool, dtype: torch.dtype = DOUBLE) -> Scene:
    """A ball with smooth maps or vertex values of them; its UV layout has a seam."""
    vertices, triangles = ball(3)
    direction = vertices / RADIUS
    u = torch.atan2(direction[:, 0], direction[:, 2]) / (2 * math.pi) + 0.5
    v = torch.asin(direction[:, 1].clamp(-1, 1)) / math.pi + 0.5
    corner_u = u[triangles]
    split = (corner_u.amax(1, keepdim=True) - corner_u.amin(1, keepdim=True) > 0.5) & (corner_u < 0.5)
    pairs = torch.stack([0.05 + 0.8 * (corner_u + split), 0.05 + 0.9 * v[triangles]], -1).view(-1, 2)
    uvs, uv_triangles = torch.unique(pairs, dim=0, return_inverse=True)
    mesh = Mesh.from_vertices(vertices[None].to(dtype), triangles, uvs.to(dtype), uv_triangles.view(-1, 3))
    diffuse = 0.5 + 0.3 * torch.sin(direction * 3)[None]
    rest = (
        0.04 + 0.02 * torch.sin(4 * direction[None, :, :1]),
        0.5 + 0.2 * torch.sin(4 * direction[None, :, 1:2]),
    )
    material = Material(*(values.to(dtype) for values in (diffuse, *rest)))
    if mapped:
        baked = (bake_vertices(x, mesh, 128) for x in (material.diffuse, material.specular, material.roughness))
        material = Material(*baked)
    pose = camera()
    pose = Camera(*(x.to(dtype) for x in (pose.intrinsics, pose.rotation, pose.translation)), SIZE, SIZE)
    return Scene(mesh, material, Environment(evaluate_map(lamps()[None], 16).to(dtype)), pose)


def with_leaves(scene: Scene, leaves: dict[str, Tensor]) -> Scene:
    """The scene with tensors of these names; normals follow the vertices unless they are given."""
    mesh = scene.mesh
    vertices = leaves.get("vertices", mesh.vertices)
    moved = Mesh.from_vertices(vertices, mesh.triangles, mesh.uvs, mesh.uv_triangles)
    if "normals" in leaves:
        moved = replace(moved, normals=leaves["normals"])
    parts = {name: leaves[name] for name in ("diffuse", "specular", "roughness") if name in leaves}
    pose = {name: leaves[name] for name in ("intrinsics", "rotation", "translation") if name in leaves}
    radiance = leaves.get("radiance", scene.environment.radiance)
    material = replace(scene.material, **parts)
    return Scene(moved, material, Environment(radiance), replace(scene.camera, **pose))


def leaf_of(scene: Scene, name: str) -> Tensor:
    for part in (scene.mesh, scene.material, scene.environment, scene.camera):
        if hasattr(part, name):
            return getattr(part, name)
    raise KeyError(name)


SMOOTH = {
    "vertices": 0.3,
    "normals": 0.05,
    "diffuse": 0.1,
    "specular": 0.01,
    "roughness": 0.05,
    "radiance": 0.3,
    "intrinsics": 1.0,
    "rotation": 0.02,
    "translation": 2.0,
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_equal_finite_differences(name: str, mapped: bool) -> None:
    """Of a loss on interior pixels: the ball's outline sends no gradient, and says so."""
    scene = textured_scene(mapped)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    inside = ((row - SIZE / 2) ** 2 + (column - SIZE / 2) ** 2 < (0.25 * SIZE) ** 2)[..., None]
    generator = torch.Generator().manual_seed(3)
    weight = inside * (1 + 0.5 * torch.randn(SIZE, SIZE, 3, generator=generator, dtype=DOUBLE))
    renderer = VertexRenderer()

    def loss(value: Tensor) -> Tensor:
        return (renderer.render(with_leaves(scene, {name: value}), 1, 0)[0, ..., :3] * weight).sum()

    start = leaf_of(scene, name).clone()
    step = torch.randn(start.shape, generator=generator, dtype=DOUBLE)
    if name == "intrinsics":
        step = torch.tensor([[[1.0, 0, 0.3], [0, 1.0, -0.2], [0, 0, 0]]], dtype=DOUBLE)
    elif name in ("diffuse", "specular", "roughness", "radiance"):
        step = step.abs()
    elif name == "vertices":
        # Smooth, so that edges between triangles, where colours have kinks, stay about where they are.
        step = torch.sin(start / 30) * torch.tensor([1.0, 0.5, 0.8], dtype=DOUBLE)
    step = step * SMOOTH[name]
    leaf = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    size = 1e-4
    expected = float(loss(start + size * step) - loss(start - size * step)) / (2 * size)
    assert math.isclose(float((gradient * step).sum()), expected, rel_tol=0.01)


def test_maps_and_vertex_values_draw_the_same() -> None:
    renderer = VertexRenderer()
    mapped, plain = (renderer.render(textured_scene(mapped), 1, 0) for mapped in (True, False))
    assert torch.equal(mapped[..., 3], plain[..., 3])
    assert float((mapped - plain).abs().mean()) < 2e-3 and float((mapped - plain).abs().max()) < 0.02


def test_seam_does_not_show() -> None:
    """Seen from behind, where the UV layout is cut, maps draw what vertex values do."""
    turned = torch.tensor([[0.0, 0.02, math.pi]], dtype=DOUBLE)
    renderer = VertexRenderer()
    images = []
    for mapped in (True, False):
        scene = textured_scene(mapped)
        behind = replace(scene, camera=replace(scene.camera, rotation=turned))
        images.append(renderer.render(behind, 1, 0))
    assert float((images[0] - images[1]).abs().max()) < 0.02


def test_photos_are_drawn_one_by_one() -> None:
    scene = textured_scene(mapped=True)
    mesh, pose = scene.mesh, scene.camera
    shift = torch.tensor([[0.0], [8.0]], dtype=DOUBLE)
    both = Scene(
        replace(mesh, vertices=mesh.vertices.repeat(2, 1, 1), normals=mesh.normals.repeat(2, 1, 1)),
        Material(
            scene.material.diffuse.expand(2, -1, -1, -1),
            scene.material.specular.expand(2, -1, -1, -1),
            scene.material.roughness.expand(2, -1, -1, -1),
        ),
        Environment(torch.cat([scene.environment.radiance, scene.environment.radiance * 2])),
        replace(
            pose,
            intrinsics=pose.intrinsics.repeat(2, 1, 1),
            rotation=pose.rotation.repeat(2, 1),
            translation=pose.translation + shift,
        ),
    )
    renderer = VertexRenderer()
    images = renderer.render(both, 1, 0)
    assert torch.allclose(images[:1], renderer.render(scene, 1, 0))
    assert torch.allclose(images[1:], renderer.render(both[1], 1, 0))
    assert torch.equal(images, renderer.render(both, 8, 5))  # samples and seed change nothing


def test_scenes_that_do_not_fit_are_refused() -> None:
    scene = textured_scene(mapped=True)
    bare = replace(scene, mesh=replace(scene.mesh, uvs=None, uv_triangles=None))
    with pytest.raises(ValueError, match="uvs"):
        VertexRenderer().render(bare, 1, 0)
    with pytest.raises(ValueError, match="specular"):
        VertexRenderer().render(
            scene.with_material(replace(scene.material, specular=scene.material.specular[:, :5])), 1, 0
        )


def test_speed() -> None:
    """A coarse guard: 0.15 s on one free core, asserted with room for a busy machine."""
    vertices, triangles = ball(5)
    pose = camera()
    values = torch.full((1, len(vertices), 1), 0.4)
    leaf = vertices[None].float().requires_grad_()
    scale = torch.tensor([256 / SIZE, 256 / SIZE, 1.0])
    at_256 = Camera(
        pose.intrinsics.float() * scale[:, None], pose.rotation.float(), pose.translation.float(), 256, 256
    )
    light = Environment(evaluate_map(lamps()[None], 64).float())
    renderer = VertexRenderer()
    fastest = math.inf
    for _ in range(5):
        start = time.perf_counter()
        scene = Scene(
            Mesh.from_vertices(leaf, triangles),
            Material(values.expand(-1, -1, 3), values / 10, values),
            light,
            at_256,
        )
        renderer.render(scene, 1, 0).square().sum().backward()
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 1.0
