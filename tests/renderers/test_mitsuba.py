"""The ray tracer against closed forms, finite differences and a plain path tracer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from simple_scenes import SIZE, camera, quad
from torch import Tensor

from benchmarks.parity.scenes import RADIUS, ball
from nextface.errors import MissingPartError
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.geometry import rotation_matrix
from renderers.mitsuba.renderer import MitsubaRenderer


@pytest.fixture(scope="module")
def renderer():
    torch.set_num_threads(1)
    renderer = MitsubaRenderer(device="cpu")
    yield renderer
    renderer.close()


# Scenes


def matte(diffuse: float = 0.5, roughness: float = 0.1, map_size: int = 4) -> Material:
    """No specular reflection but Schlick's rise at grazing angles."""
    shape = (1, map_size, map_size)
    return Material(
        torch.full((*shape, 3), diffuse), torch.zeros(*shape, 1), torch.full((*shape, 1), roughness)
    )


def vertex_values(mesh: Mesh, diffuse: float = 0.5, specular: float = 0.0, roughness: float = 0.1) -> Material:
    shape = mesh.vertices.shape[:2]
    return Material(*(torch.full((*shape, c), x) for c, x in ((3, diffuse), (1, specular), (1, roughness))))


def map_directions(height: int) -> Tensor:
    """Light-frame directions of texel centres, written out from the conventions: [H, 2H, 3]."""
    theta = np.pi * (torch.arange(height) + 0.5) / height
    phi = 2 * np.pi * (torch.arange(2 * height) + 0.5) / (2 * height)
    theta, phi = torch.meshgrid(theta, phi, indexing="ij")
    return torch.stack([theta.sin() * phi.sin(), theta.cos(), -theta.sin() * phi.cos()], -1)


def light(radiance: Tensor) -> Environment:
    """The environment of a radiance [H, 2H]."""
    return Environment(radiance[None, ..., None].repeat(1, 1, 1, 3).float())


def scene(mesh: Mesh, material: Material, radiance: Tensor | None = None, view: Camera | None = None) -> Scene:
    return Scene(mesh, material, light(torch.ones(8, 16) if radiance is None else radiance), view or camera())


def sphere_normals(view: Camera) -> tuple[Tensor, Tensor]:
    """Camera-frame normals [H, W, 3] of the ball at pixel centres, and where the ball is [H, W]."""
    centres = torch.arange(view.width) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(view.intrinsics[0]).mT
    rays = torch.nn.functional.normalize(rays, dim=-1)
    centre = view.translation[0]
    along = rays @ centre
    discriminant = along**2 - centre @ centre + RADIUS**2
    points = (along - discriminant.clamp(min=0).sqrt())[..., None] * rays
    return (points - centre) / RADIUS, discriminant > 0


def smooth(channels: int, size: int, seed: int, low: float, high: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 10, 10, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return low + (high - low) * fine.clamp(0, 1).permute(0, 2, 3, 1)


# Closed forms


def test_unoccluded_quad_under_uniform_light_shows_its_albedo(renderer):
    image = renderer.render(scene(quad(), matte(0.3), 2.0 * torch.ones(8, 16)), 256, 1)[0]
    inside = image[10:22, 10:22]
    assert inside[..., 3].eq(1).all()
    assert inside[..., :3].mean() == pytest.approx(0.6, rel=2e-3)


def test_sphere_under_uniform_light_shows_its_albedo(renderer):
    normals, _ = sphere_normals(camera())
    image = renderer.render(scene(ball(4), matte(0.8)), 256, 1)[0]
    frontal = normals[..., 2] < -0.8  # where Schlick's rise is below 0.0004
    assert image[frontal][..., :3].mean() == pytest.approx(0.8, rel=3e-3)
    np.testing.assert_allclose(image[frontal][..., 0], 0.8, rtol=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["x", "y", "z"])
def test_sphere_under_a_band_1_light_shows_its_irradiance(renderer, axis):
    """Radiance a + b d.axis gives irradiance pi a + 2/3 pi b n.axis."""
    normals, _ = sphere_normals(camera())
    image = renderer.render(scene(ball(4), matte(0.6), 1 + 0.9 * map_directions(32)[..., axis]), 512, 1)[0]
    in_light_frame = normals * torch.tensor([1.0, -1, -1])
    expected = 0.6 * (1 + 0.6 * in_light_frame[..., axis])
    frontal = normals[..., 2] < -0.8
    difference = (image[..., 0] - expected)[frontal]
    assert abs(difference.mean()) < 2e-3
    assert difference.abs().max() < 0.06
    slope = np.polyfit(in_light_frame[..., axis][frontal].numpy(), image[..., 0][frontal].numpy(), 1)[0]
    assert slope == pytest.approx(0.36, rel=0.03)


def test_ggx_lobe_mirrors_a_light_where_the_half_vector_says(renderer):
    """A light on the right at 45 degrees is mirrored where the normal lies half-way to the camera."""
    toward = torch.tensor([np.sin(np.pi / 4), 0, np.cos(np.pi / 4)], dtype=torch.float32)
    radiance = torch.exp(300 * (map_directions(64) @ toward - 1)) * 50
    shiny = replace(matte(0.0, roughness=0.2), specular=torch.full((1, 4, 4, 1), 0.08))
    view = camera(48)
    image = renderer.render(scene(ball(4), shiny, radiance, view), 256, 1)[0, ..., 0]
    normals, hit = sphere_normals(view)
    image = image * (hit & (normals[..., 2] < -0.5))
    y, x = (image == image.max()).nonzero()[0]
    row = torch.arange(48) + 0.5
    peak = torch.tensor([(image.sum(0) * row).sum(), (image.sum(1) * row).sum()]) / image.sum()
    half = torch.tensor([np.sin(np.pi / 8), 0, np.cos(np.pi / 8)], dtype=torch.float32) * RADIUS
    expected = view.project(half[None, None])[0, 0]
    assert (peak - expected).abs().max() < 1.0, (peak, expected, x, y)


def test_alpha_is_coverage_and_colour_is_premultiplied(renderer):
    view = camera(SIZE, focal=600.0)  # one pixel a millimetre at the quad's distance
    image = renderer.render(scene(quad(10.25, 6.75), matte(0.5), view=view), 1024, 1)[0]
    across = torch.tensor([0.0] * 5 + [0.25] + [1.0] * 20 + [0.25] + [0.0] * 5)
    down = torch.tensor([0.0] * 9 + [0.75] + [1.0] * 12 + [0.75] + [0.0] * 9)
    expected = down[:, None] * across[None, :]
    np.testing.assert_allclose(image[..., 3], expected, atol=0.01)
    np.testing.assert_allclose(image[..., 0], 0.5 * image[..., 3], atol=0.03)
    assert image[expected == 0].eq(0).all()


def test_back_sides_are_black_but_there(renderer):
    mesh = quad()
    turned = replace(mesh, triangles=mesh.triangles.flip(-1), normals=-mesh.normals)
    image = renderer.render(scene(turned, vertex_values(mesh)), 4, 1)[0]
    assert image[16, 16].tolist() == [0, 0, 0, 1]


def test_shadows_are_cast(renderer):
    """A plate above another hides the light from the camera's side."""
    low, high = quad(60, 60), quad(60, 60)
    vertices = torch.cat([low.vertices, high.vertices + torch.tensor([100.0, 0, 60])], 1)
    mesh = Mesh(
        vertices, torch.cat([low.normals, high.normals], 1), torch.cat([low.triangles, low.triangles + 4])
    )
    from_the_right = (map_directions(16)[..., 0] > 0.6).float()
    image = renderer.render(scene(mesh, vertex_values(mesh), from_the_right), 64, 1)[0, ..., 0]
    alone = renderer.render(scene(low, vertex_values(low), from_the_right), 64, 1)[0, ..., 0]
    assert image[16, 17:20].mean() < 0.5 * alone[16, 17:20].mean()


# Orientation


@pytest.mark.parametrize(
    ("toward", "bright"),
    [
        ((-1.0, 0, 0.3), "left"),
        ((1.0, 0, 0.3), "right"),
        ((0, 1.0, 0.3), "top"),
        ((0, -1.0, 0.3), "bottom"),
        ((0, 0, 1.0), "front"),
    ],
)
def test_light_comes_from_where_the_map_says(renderer, toward, bright):
    direction = torch.nn.functional.normalize(torch.tensor(toward), dim=0)
    radiance = torch.exp(20 * (map_directions(16) @ direction - 1))
    image = renderer.render(scene(ball(4), matte(), radiance), 64, 1)[0, ..., 0]
    halves = {
        "left": image[:, :16].sum(),
        "right": image[:, 16:].sum(),
        "top": image[:16].sum(),
        "bottom": image[16:].sum(),
    }
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    if bright == "front":
        assert image[14:18, 14:18].mean() > 1.2 * image[14:18, 5:8].mean()
        assert max(halves.values()) < 1.1 * min(halves.values())
    else:
        assert halves[bright] > 3 * halves[opposite[bright]]


def test_light_has_no_seam(renderer):
    """Light from behind, where the map's first and last columns meet, is symmetric."""
    radiance = torch.exp(6 * (map_directions(8) @ torch.tensor([0, 0, -1.0]) - 1))
    image = renderer.render(scene(ball(4), matte(), radiance), 512, 1)[0, ..., 0]
    assert image.sum() == pytest.approx(2 * float(image[:, :16].sum()), rel=0.02)


def test_map_row_0_is_at_v_1_and_column_0_at_u_0(renderer):
    texture = torch.zeros(1, 8, 8, 3)
    texture[:, :4, :4, 0] = 1  # upper left red
    texture[:, :4, 4:, 1] = 1  # upper right green
    texture[:, 4:, :4, 2] = 1  # lower left blue
    image = renderer.render(scene(quad(), replace(matte(map_size=8), diffuse=texture)), 64, 1)[0]
    for rows, columns, colour in (
        (slice(8, 13), slice(8, 13), [1, 0, 0]),
        (slice(8, 13), slice(19, 24), [0, 1, 0]),
        (slice(19, 24), slice(8, 13), [0, 0, 1]),
        (slice(19, 24), slice(19, 24), [0, 0, 0]),
    ):
        np.testing.assert_allclose(image[rows, columns, :3].mean((0, 1)), colour, atol=0.02)


def test_texels_lie_where_their_centres_should(renderer):
    """A ramp of texels is a ramp of the picture, without half a texel of shift."""
    view = camera(SIZE, focal=600.0)  # the quad is 16 pixels wide and 16 texels: texel centres on pixel centres
    texture = torch.linspace(0.1, 0.85, 16)[None, None, :, None].repeat(1, 16, 1, 3)
    material = replace(matte(map_size=16), diffuse=texture)
    image = renderer.render(scene(quad(8, 8), material, view=view), 1024, 1)[0]
    np.testing.assert_allclose(image[10:22, 9:23, 0].mean(0), texture[0, 0, 1:-1, 0], rtol=0.01)


def test_intrinsics_place_the_image_anywhere(renderer):
    centred = renderer.render(scene(ball(4), matte()), 256, 1)[0, ..., 3]
    shifted = renderer.render(scene(ball(4), matte(), view=camera(principal=(22, 11))), 256, 1)[0, ..., 3]
    np.testing.assert_allclose(shifted[:25, 8:], torch.roll(centred, (-5, 6), (0, 1))[:25, 8:], atol=0.05)


def test_focal_lengths_may_differ_and_skew_is_obeyed(renderer):
    view = camera(64)
    intrinsics = torch.tensor([[[150.0, 20, 30], [0, 90, 36], [0, 0, 1]]])
    view = replace(view, intrinsics=intrinsics)
    dot = quad(6, 6)
    place = torch.tensor([40.0, -50, 20])
    mesh = replace(dot, vertices=dot.vertices + place)
    alpha = renderer.render(scene(mesh, matte(), view=view), 1024, 1)[0, ..., 3]
    row = torch.arange(64) + 0.5
    found = torch.tensor([(alpha.sum(0) * row).sum(), (alpha.sum(1) * row).sum()]) / alpha.sum()
    np.testing.assert_allclose(found, view.project(place[None, None])[0, 0], atol=0.05)


# Layouts, batches, seeds


def test_vertex_values_and_maps_draw_the_same_image(renderer):
    """A linear ramp is exact in both layouts."""
    mesh = quad()
    u = (torch.arange(32) + 0.5) / 32
    ramp = (0.2 + 0.5 * u)[None, None, :, None].repeat(1, 32, 1, 1)
    mapped = Material(ramp.repeat(1, 1, 1, 3), 0.08 * ramp, 0.2 + ramp)
    at_vertices = (0.2 + 0.5 * mesh.uvs[:, :1])[None]
    valued = Material(at_vertices.repeat(1, 1, 3), 0.08 * at_vertices, 0.2 + at_vertices)
    images = [renderer.render(scene(mesh, material), 64, 3)[0] for material in (mapped, valued)]
    np.testing.assert_allclose(images[0][8:24, 8:24], images[1][8:24, 8:24], rtol=2e-3)


def test_scenes_of_a_batch_are_drawn_each_by_itself(renderer):
    mesh = ball(3)
    one = scene(mesh, vertex_values(mesh, 0.2))
    other = scene(mesh, vertex_values(mesh, 0.8), 0.5 * torch.ones(8, 16), camera(principal=(20, 12)))

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b])

    batch = Scene(
        Mesh(both(mesh.vertices, mesh.vertices), both(mesh.normals, mesh.normals), mesh.triangles),
        Material(
            both(one.material.diffuse, other.material.diffuse).requires_grad_(),
            both(one.material.specular, other.material.specular),
            both(one.material.roughness, other.material.roughness),
        ),
        Environment(both(one.environment.radiance, other.environment.radiance)),
        replace(
            one.camera,
            intrinsics=both(one.camera.intrinsics, other.camera.intrinsics),
            rotation=both(one.camera.rotation, other.camera.rotation),
            translation=both(one.camera.translation, other.camera.translation),
        ),
    )
    images = renderer.render(batch, 128, 5)
    assert images.shape == (2, SIZE, SIZE, 4)
    for image, alone in zip(images, (one, other), strict=True):
        expected = renderer.render(alone, 128, 6)[0]
        np.testing.assert_allclose(image.detach().sum((0, 1)), expected.sum((0, 1)), rtol=5e-3)
    (gradient,) = torch.autograd.grad(images[1, ..., :3].sum(), batch.material.diffuse)
    assert gradient[0].eq(0).all()
    assert gradient[1].sum() > 0


def test_gradients_belong_to_the_image_they_came_from(renderer):
    """Another scene drawn in between, of other sizes and another layout, changes nothing."""
    mesh = ball(3)
    diffuse = torch.full((1, mesh.vertices.shape[1], 3), 0.5, requires_grad=True)
    drawn = scene(mesh, replace(vertex_values(mesh), diffuse=diffuse))

    def gradient(disturb: bool) -> Tensor:
        image = renderer.render(drawn, 16, 9)
        if disturb:
            renderer.render(scene(quad(), matte(0.9), 3 * torch.ones(16, 32)), 2, 1)
        return torch.autograd.grad(image[..., :3].sum(), diffuse)[0]

    np.testing.assert_allclose(gradient(False), gradient(True), rtol=1e-3, atol=1e-5)


def test_one_seed_one_image(renderer):
    drawn = scene(ball(3), matte())
    first, again, other = (renderer.render(drawn, 8, seed) for seed in (11, 11, 12))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_backward_pass_has_noise_of_its_own(renderer):
    """Radiance is linear in the light: with one set of samples, the derivative along it would be the image."""
    radiance = torch.ones(1, 8, 16, 3, requires_grad=True)
    drawn = replace(scene(ball(3), matte()), environment=Environment(radiance))
    image = renderer.render(drawn, 8, 1)[..., :3].sum()
    along = torch.autograd.grad(image, radiance)[0].sum()
    image = image.detach()
    assert float(along) == pytest.approx(float(image), rel=0.02)
    assert float(along) != pytest.approx(float(image), rel=1e-6)


def test_samples_beyond_one_pass_are_averaged(renderer, monkeypatch):
    from renderers.mitsuba import scene as mitsuba_scene

    radiance = torch.ones(1, 8, 16, 3, requires_grad=True)
    drawn = replace(scene(ball(3), matte()), environment=Environment(radiance))
    whole = renderer.render(drawn, 100, 1)
    monkeypatch.setattr(mitsuba_scene, "WAVEFRONT", SIZE * SIZE * 30)
    parts = renderer.render(drawn, 100, 1)
    along = torch.autograd.grad(parts[..., :3].sum(), radiance)[0].sum()
    for found in (parts[..., :3].sum().detach(), along):
        assert float(found) == pytest.approx(float(whole[..., :3].sum().detach()), rel=5e-3)


def test_double_precision_scenes_get_double_precision_back(renderer):
    drawn = scene(ball(3), matte())
    diffuse = drawn.material.diffuse.double().requires_grad_()
    doubled = Scene(
        replace(drawn.mesh, vertices=drawn.mesh.vertices.double(), normals=drawn.mesh.normals.double()),
        Material(diffuse, drawn.material.specular.double(), drawn.material.roughness.double()),
        Environment(drawn.environment.radiance.double()),
        replace(
            drawn.camera,
            intrinsics=drawn.camera.intrinsics.double(),
            rotation=drawn.camera.rotation.double(),
            translation=drawn.camera.translation.double(),
        ),
    )
    image = renderer.render(doubled, 4, 1)
    (gradient,) = torch.autograd.grad(image.sum(), diffuse)
    assert image.dtype == gradient.dtype == torch.float64


# Gradients against central finite differences


def textured_sphere() -> dict[str, Tensor]:
    mesh, view = ball(4), camera()
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 3, 4, 8, generator=generator)
    radiance = (
        torch.nn.functional.interpolate(coarse, (16, 32), mode="bicubic").permute(0, 2, 3, 1).clamp(min=0)
    )
    return {
        "vertices": mesh.vertices,
        "normals": mesh.normals,
        "diffuse": smooth(3, 64, 4, 0.05, 0.95),
        "specular": smooth(1, 64, 5, 0.02, 0.08),
        "roughness": smooth(1, 64, 6, 0.3, 0.7),
        "radiance": 0.2 + radiance,
        "intrinsics": view.intrinsics,
        "rotation": view.rotation,
        "translation": view.translation,
    }


def entry(shape: tuple[int, ...], *index: int) -> Tensor:
    return torch.zeros(shape).index_put(tuple(torch.tensor(i) for i in (0, *index)), torch.tensor(1.0))


def bend(vertices: Tensor) -> Tensor:
    x, y, z = (vertices / RADIUS).unbind(-1)
    return torch.stack([torch.sin(2.5 * y), torch.cos(2 * x), torch.sin(3 * z)], -1)


DIRECTIONS = {
    "vertices": (lambda x: bend(x["vertices"]), 0.5),
    "normals": (lambda x: torch.linalg.cross(x["normals"], bend(x["vertices"])), 0.02),
    "diffuse": (lambda x: smooth(3, 64, 7, -0.5, 0.5), 0.1),
    "specular": (lambda x: smooth(1, 64, 8, -0.5, 0.5), 0.02),
    "roughness": (lambda x: smooth(1, 64, 9, -0.5, 0.5), 0.1),
    "radiance": (lambda x: map_directions(16)[None] @ torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]]), 0.2),
    "focal x": (lambda x: entry((1, 3, 3), 0, 0), 1.0),
    "focal y": (lambda x: entry((1, 3, 3), 1, 1), 1.0),
    "principal x": (lambda x: entry((1, 3, 3), 0, 2), 0.3),
    "principal y": (lambda x: entry((1, 3, 3), 1, 2), 0.3),
    "skew": (lambda x: entry((1, 3, 3), 0, 1), 1.0),
    "rotation x": (lambda x: entry((1, 3), 0), 0.01),
    "rotation y": (lambda x: entry((1, 3), 1), 0.01),
    "rotation z": (lambda x: entry((1, 3), 2), 0.01),
    "translation x": (lambda x: entry((1, 3), 0), 1.0),
    "translation y": (lambda x: entry((1, 3), 1), 1.0),
    "translation z": (lambda x: entry((1, 3), 2), 4.0),
}
TENSOR = {"focal": "intrinsics", "principal": "intrinsics", "skew": "intrinsics"}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_directional_derivatives_agree_with_finite_differences(renderer, name):
    """Within 3 %, on a convex ball without shadows, over pixels away from its outline.

    The loss weighs pixels by how much they change, so that signal and not noise decides; the analytic
    derivative has samples of its own.
    """
    values = textured_sphere()
    key = TENSOR.get(name.split()[0], name.split()[0])
    make_direction, step = DIRECTIONS[name]
    direction = make_direction(values)
    mesh = ball(4)
    normals, hit = sphere_normals(camera())
    inside = (hit & (normals[..., 2] < -0.45))[..., None]

    def draw(value: Tensor, samples: int, seed: int) -> Tensor:
        x = {**values, key: value}
        drawn = Scene(
            replace(mesh, vertices=x["vertices"], normals=x["normals"]),
            Material(x["diffuse"], x["specular"], x["roughness"]),
            Environment(x["radiance"]),
            Camera(x["intrinsics"], x["rotation"], x["translation"], SIZE, SIZE),
        )
        return renderer.render(drawn, samples, seed)[0, ..., :3] * inside

    def difference(seed: int) -> Tensor:
        ahead, behind = (draw(values[key] + side * step * direction, 1024, seed) for side in (1, -1))
        return (ahead - behind) / (2 * step)

    weights = difference(1)
    weights = torch.nn.functional.avg_pool2d(weights.permute(2, 0, 1)[None], 3, 1, 1)[0].permute(1, 2, 0)
    expected = (difference(2) * weights).sum()
    leaf = values[key].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((draw(leaf, 1024, 3) * weights).sum(), leaf)
    assert float((gradient * direction).sum()) == pytest.approx(float(expected), rel=0.03)


def test_vertex_value_gradients_agree_with_finite_differences(renderer):
    mesh = ball(3)
    values = vertex_values(mesh, 0.5, 0.05, 0.5)
    radiance = 0.2 + torch.exp(3 * (map_directions(16) @ torch.tensor([0.6, 0, 0.8]) - 1))
    leaves = [value.clone().requires_grad_() for value in (values.diffuse, values.specular, values.roughness)]

    def loss(*tensors: Tensor, seed: int) -> Tensor:
        return renderer.render(scene(mesh, Material(*tensors), radiance), 512, seed)[..., :3].sum()

    gradients = torch.autograd.grad(loss(*leaves, seed=1), leaves)
    for number, step in enumerate((0.1, 0.02, 0.05)):
        ahead, behind = (
            [leaf + side * step * (k == number) for k, leaf in enumerate(leaves)] for side in (1, -1)
        )
        with torch.no_grad():
            expected = (loss(*ahead, seed=2) - loss(*behind, seed=2)) / (2 * step)
        assert float(gradients[number].sum()) == pytest.approx(float(expected), rel=0.03)


# More bounces


def two_balls() -> Mesh:
    left = trimesh.creation.icosphere(4, radius=60)
    right = left.copy()
    left.apply_translation([-60, 0, 0])
    right.apply_translation([60, 0, 0])
    both = trimesh.util.concatenate([left, right])
    normals = np.concatenate([left.vertex_normals, right.vertex_normals])
    return Mesh(
        torch.tensor(both.vertices, dtype=torch.float32)[None],
        torch.tensor(normals, dtype=torch.float32)[None],
        torch.tensor(np.asarray(both.faces), dtype=torch.int64),
    )


def trace_two_balls(view: Camera, columns: slice, rows: slice, bounces: int, samples: int) -> np.ndarray:
    """Mean radiance of a part of the picture by the plainest path tracer there is, on true spheres, in NumPy.

    Diffuse 0.9, F0 0.04, roughness 0.5, under 1 + 0.8 y (light frame).
    """
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop))
    pixels = np.repeat(np.stack([x.ravel(), y.ravel()], -1), samples, 0) + rng.random((x.size * samples, 2))
    inverse = np.linalg.inv(view.intrinsics[0].numpy().astype(float))
    ways = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ inverse.T
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    starts = np.zeros_like(ways)
    centres = np.array([[-60.0, 0, 600], [60, 0, 600]])

    def hit(starts: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the nearer ball (infinite where there is none), and its number."""
        distances = []
        for centre in centres:
            offset = starts - centre
            half_b = (offset * ways).sum(1)
            root = half_b**2 - (offset**2).sum(1) + 60.0**2
            near = -half_b - np.sqrt(np.maximum(root, 0))
            distances.append(np.where((root > 0) & (near > 1e-6), near, np.inf))
        return np.min(distances, 0), np.argmin(distances, 0)

    radiance, throughput = np.zeros(len(ways)), np.ones(len(ways))
    distance, ball = hit(starts, ways)
    for _ in range(bounces):
        on_ball = np.isfinite(distance)
        throughput = np.where(on_ball, throughput, 0)
        starts = starts + np.where(on_ball, distance, 0)[:, None] * ways
        normals = (starts - centres[ball]) / 60
        out = rng.normal(size=ways.shape)
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        out *= np.sign((out * normals).sum(1))[:, None]  # uniform over the hemisphere
        cos_i = np.maximum(-(ways * normals).sum(1), 1e-6)
        cos_o = np.maximum((out * normals).sum(1), 1e-6)
        half = (out - ways) / np.linalg.norm(out - ways, axis=1, keepdims=True)
        cos_h, alpha = (half * normals).sum(1), 0.25
        d = alpha**2 / (np.pi * ((alpha**2 - 1) * cos_h**2 + 1) ** 2)
        shadow_i, shadow_o = ((np.sqrt(1 + alpha**2 * (c**-2 - 1)) - 1) / 2 for c in (cos_i, cos_o))
        f = 0.04 + 0.96 * (1 - (half * out).sum(1)) ** 5
        lobe = f * d / (1 + shadow_i + shadow_o) / (4 * cos_i * cos_o)
        throughput = throughput * (0.9 / np.pi + lobe) * cos_o * 2 * np.pi
        ways = out
        distance, ball = hit(starts, ways)
        free = np.isinf(distance)
        radiance += np.where(free, throughput * (1 - 0.8 * ways[:, 1]), 0)
        throughput = np.where(free, 0, throughput)
    return radiance.mean()


@pytest.mark.parametrize("bounces", [1, 2, 4])
def test_bounces_agree_with_a_plain_path_tracer(renderer, bounces):
    mesh = two_balls()
    ours = MitsubaRenderer(device="cpu", max_bounces=bounces)
    drawn = scene(mesh, vertex_values(mesh, 0.9, 0.04, 0.5), 1 + 0.8 * map_directions(32)[..., 1])
    image = ours.render(drawn, 512, 1)[0, ..., 0]
    ours.close()
    for rows in (slice(9, 15), slice(17, 23)):
        columns = slice(12, 20)
        expected = trace_two_balls(drawn.camera, columns, rows, bounces, 8000)
        assert float(image[rows, columns].mean()) == pytest.approx(expected, rel=0.01)


def open_box() -> Mesh:
    """Five inner walls of a cube that is open towards the camera: light bounces many times."""
    face = quad(80, 80)
    turns = [(0, 0), (np.pi / 2, 0), (-np.pi / 2, 0), (0, np.pi / 2), (0, -np.pi / 2)]
    vertices, normals, triangles = [], [], []
    for number, (about_x, about_y) in enumerate(turns):
        turn = rotation_matrix(torch.tensor([about_x, about_y, 0.0]))
        vertices.append((face.vertices[0] - torch.tensor([0, 0, 80.0])) @ turn.mT)
        normals.append(face.normals[0] @ turn.mT)
        triangles.append(face.triangles + 4 * number)
    return Mesh(torch.cat(vertices)[None], torch.cat(normals)[None], torch.cat(triangles))


@pytest.mark.parametrize("bounces", [2, 4])
@pytest.mark.parametrize("name", ["diffuse", "radiance"])
def test_gradients_include_the_further_bounces(renderer, name, bounces):
    ours = MitsubaRenderer(device="cpu", max_bounces=bounces)
    mesh = open_box()
    values = {"diffuse": vertex_values(mesh, 0.8).diffuse, "radiance": torch.ones(1, 8, 16, 3)}

    def loss(value: Tensor, seed: int) -> Tensor:
        x = {**values, name: value}
        material = replace(vertex_values(mesh, roughness=1.0), diffuse=x["diffuse"])
        drawn = Scene(mesh, material, Environment(x["radiance"]), camera())
        return ours.render(drawn, 256, seed)[0, ..., :3].sum()

    leaf = values[name].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, 1), leaf)
    expected = (loss(values[name] + 0.03, 2) - loss(values[name] - 0.03, 2)) / 0.06
    ours.close()
    assert float(gradient.sum()) == pytest.approx(float(expected), rel=0.02)


# Staying power


def test_nothing_is_compiled_and_no_memory_grows_after_the_start(renderer):
    import drjit as dr

    values = {name: value.clone().requires_grad_() for name, value in textured_sphere().items()}
    mesh = ball(4)

    def iterate(seed: int) -> None:
        shifted = {name: value + 0.001 * (seed % 7) for name, value in values.items()}
        drawn = Scene(
            replace(mesh, vertices=shifted["vertices"], normals=shifted["normals"]),
            Material(shifted["diffuse"], shifted["specular"], shifted["roughness"]),
            Environment(shifted["radiance"]),
            Camera(shifted["intrinsics"], shifted["rotation"], shifted["translation"], SIZE, SIZE),
        )
        image = renderer.render(drawn, 1 + seed % 3, seed)  # nor by another number of samples
        torch.autograd.grad(image[..., :3].square().sum(), list(values.values()))

    for seed in range(6):
        iterate(seed)
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        for seed in range(6, 12):
            iterate(seed)
        kernels = [kernel for kernel in dr.kernel_history() if "cache_hit" in kernel]
    assert kernels
    assert all(kernel["cache_hit"] for kernel in kernels)

    for seed in range(12, 30):
        iterate(seed)
    before = resident_megabytes()
    for seed in range(30, 90):
        iterate(seed)
    assert resident_megabytes() - before < 8


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def test_an_exception_in_the_backward_pass_leaves_nothing_behind(renderer, monkeypatch):
    from renderers.mitsuba import scene as mitsuba_scene

    mesh = ball(3)
    diffuse = torch.full((1, mesh.vertices.shape[1], 3), 0.5, requires_grad=True)
    drawn = scene(mesh, replace(vertex_values(mesh), diffuse=diffuse))

    def gradient() -> Tensor:
        return torch.autograd.grad(renderer.render(drawn, 8, 2)[..., :3].sum(), diffuse)[0]

    expected = gradient()
    original = mitsuba_scene.direct_radiance

    def fail(*arguments, **options):
        colour, valid, onward = original(*arguments, **options)
        import drjit as dr

        if dr.grad_enabled(colour):
            raise RuntimeError("on purpose")
        return colour, valid, onward

    with monkeypatch.context() as patch:
        patch.setattr(mitsuba_scene, "direct_radiance", fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            gradient()
    np.testing.assert_allclose(gradient(), expected, rtol=1e-3, atol=1e-5)


# Wrong input


def broken(scene_: Scene, argument: str, value: object) -> Scene:
    part, field = argument.split(".")
    return replace(scene_, **{part: replace(getattr(scene_, part), **{field: value})})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("mesh.vertices", torch.zeros(1, 5)),
        ("mesh.normals", torch.zeros(1, 7, 3)),
        ("mesh.triangles", torch.zeros(3, 4, dtype=torch.int64)),
        ("mesh.uv_triangles", torch.zeros(1, 3, dtype=torch.int64)),
        ("mesh.uvs", None),
        ("mesh.triangles", torch.full((2, 3), 99)),
        ("material.diffuse", torch.zeros(1, 4, 4, 1)),
        ("material.specular", torch.zeros(1, 8, 8, 1)),
        ("material.roughness", torch.zeros(2, 4, 4, 1)),
        ("environment.light", torch.zeros(1, 8, 8, 3)),
        ("environment.light", torch.zeros(1, 8, 3)),
        ("environment.light", torch.zeros(2, 9, 3)),
        ("camera.intrinsics", torch.zeros(1, 2, 3)),
        ("camera.rotation", torch.zeros(1, 4)),
        ("camera.translation", torch.zeros(2, 3)),
        ("camera.width", 0),
    ],
)
def test_wrong_shapes_are_refused_by_name(renderer, argument, value):
    with pytest.raises(ValueError, match=argument.replace(".", r"\.")):
        renderer.render(broken(scene(quad(), matte()), argument, value), 4, 1)


def test_samples_must_be_positive(renderer):
    with pytest.raises(ValueError, match="samples"):
        renderer.render(scene(quad(), matte()), 0, 1)


def test_a_black_light_draws_black(renderer):
    image = renderer.render(scene(quad(), matte(), torch.zeros(8, 16)), 4, 1)[0]
    assert image[16, 16].tolist() == [0, 0, 0, 1]


def test_a_missing_gpu_is_explained():
    from renderers.mitsuba.renderer import choose_variant

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingPartError, match="driver"):
        choose_variant("cuda")
    with pytest.raises(ValueError, match="device"):
        choose_variant("tpu")


def test_any_thread_may_draw_and_differentiate(renderer):
    """Mitsuba's variant may belong to a thread, and torch may differentiate in another than it drew in."""
    from concurrent.futures import ThreadPoolExecutor

    drawn = scene(ball(3), matte())
    radiance = drawn.environment.radiance.clone().requires_grad_()
    drawn = replace(drawn, environment=Environment(radiance))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        image = one.submit(renderer.render, drawn, 4, 1).result()
        (gradient,) = other.submit(torch.autograd.grad, image.sum(), radiance).result()
    assert torch.equal(image, renderer.render(drawn, 4, 1))
    assert gradient.sum() > 0


def test_not_a_number_is_drawn_without_harm(renderer):
    """Whoever optimises notices by the loss; nothing may crash before."""
    mesh = ball(3)
    values = vertex_values(mesh)
    for broken_scene in (
        scene(replace(mesh, vertices=mesh.vertices * torch.nan), values),
        scene(mesh, replace(values, diffuse=values.diffuse * torch.nan)),
        scene(mesh, values, torch.full((8, 16), torch.inf)),
    ):
        assert renderer.render(broken_scene, 2, 1).shape == (1, SIZE, SIZE, 4)
    assert renderer.render(scene(mesh, values), 2, 1).isfinite().all()


def test_a_moved_mesh_is_noticed_even_when_it_moved_in_place(renderer):
    """Unchanged geometry is not loaded again: change must be seen by content."""
    mesh = ball(3)
    drawn = scene(mesh, vertex_values(mesh))
    first = renderer.render(drawn, 8, 1)
    before = mesh.vertices.clone()
    mesh.vertices.data.add_(torch.tensor([20.0, 0, 0]))
    moved = renderer.render(drawn, 8, 1)
    mesh.vertices.data.copy_(before)
    assert not torch.equal(first, moved)
    assert torch.equal(first, renderer.render(drawn, 8, 1))
