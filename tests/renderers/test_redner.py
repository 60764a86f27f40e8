"""redner against closed forms, the other ray tracer and finite differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from redner_set_up import require_redner
from rendered_photo import person
from simple_scenes import DISTANCE, SIZE, camera, quad
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

import renderers
from benchmarks.parity.scenes import RADIUS, ball
from nextface.models import create as create_model
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.lighting import map_directions
from renderers.redner.renderer import Engine, RednerRenderer
from renderers.settings import Settings


@pytest.fixture(scope="module")
def renderer() -> Iterator[RednerRenderer]:
    yield from built()


@pytest.fixture(scope="module")
def edge_renderer() -> Iterator[RednerRenderer]:
    """One whose gradients see silhouettes move."""
    yield from built(visibility_gradients=True)


def built(**settings: bool) -> Iterator[RednerRenderer]:
    require_redner()
    torch.set_num_threads(1)
    renderer = renderers.create("redner", Settings(threads=1, **settings))
    assert isinstance(renderer, RednerRenderer)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def mitsuba() -> Iterator[renderers.Renderer]:
    renderer = renderers.create("mitsuba", Settings("cpu", threads=1))
    yield renderer
    renderer.close()


def at_vertices(mesh: Mesh, diffuse: float = 0.5, specular: float = 0.0, roughness: float = 1.0) -> Material:
    shape = mesh.vertices.shape[:2]
    return Material(*(torch.full((*shape, c), x) for c, x in ((3, diffuse), (1, specular), (1, roughness))))


def mapped(size: int = 4, diffuse: float = 0.5, specular: float = 0.0, roughness: float = 1.0) -> Material:
    shape = (1, size, size)
    return Material(*(torch.full((*shape, c), x) for c, x in ((3, diffuse), (1, specular), (1, roughness))))


def grey(radiance: Tensor) -> Environment:
    """The environment of a radiance [H, 2H]."""
    return Environment(radiance[None, ..., None].repeat(1, 1, 1, 3).float())


def lamp(toward: tuple[float, float, float], height: int = 32, sharpness: float = 20.0) -> Tensor:
    """A light [H, 2H] around a direction of the light frame."""
    direction = normalize(torch.tensor(toward), dim=0)
    return torch.exp(sharpness * (map_directions(height).float() @ direction - 1))


def facing(view: Camera) -> Tensor:
    """The cosine between normal and camera ray of the ball in each pixel [H, W], 0 where the ball is not."""
    x, y = torch.meshgrid(torch.arange(view.width) + 0.5, torch.arange(view.height) + 0.5, indexing="xy")
    rays = torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(view.intrinsics[0]).mT
    rays = normalize(rays, dim=-1)
    along = rays[..., 2] * DISTANCE
    discriminant = along**2 - DISTANCE**2 + RADIUS**2
    return discriminant.clamp(min=0).sqrt() / RADIUS


def distance(image: Tensor, other: Tensor, where: Tensor) -> float:
    """Root mean square difference of radiance, relative to the other's mean."""
    difference = (image - other)[where][:, :3]
    return float(difference.square().mean().sqrt() / other[where][:, :3].mean())


# Closed forms


def test_a_square_under_uniform_light_shows_its_albedo(renderer: RednerRenderer) -> None:
    scene = Scene(quad(), mapped(diffuse=0.3), grey(2 * torch.ones(8, 16)), camera())
    image = renderer.render(scene, 256, 1)[0]
    inside = image[10:22, 10:22]
    assert inside[..., 3] == pytest.approx(1, abs=1e-6)
    assert float(inside[..., :3].mean()) == pytest.approx(0.6, rel=5e-3)
    assert image[0, 0].eq(0).all()  # the light is not seen behind


@pytest.mark.parametrize("height", [24, 33, 64])
@pytest.mark.parametrize("axis", [0, 1, 2], ids=["x", "y", "z"])
def test_a_ball_under_a_band_1_light_shows_its_irradiance(
    renderer: RednerRenderer, axis: int, height: int
) -> None:
    """Radiance 1 + 0.9 d.axis gives irradiance pi (1 + 0.6 n.axis), for every height of the map."""
    view = camera()
    mesh = ball(4)
    light = grey(1 + 0.9 * map_directions(height)[..., axis])
    image = renderer.render(Scene(mesh, at_vertices(mesh, 0.6), light, view), 256, 1)[0]
    normals = torch.linalg.inv(view.intrinsics[0]) @ pixel_centres(view)
    frontal = facing(view) > 0.8
    positions = ball_points(normals)
    expected = 0.6 * (1 + 0.6 * positions[axis] / RADIUS * (1 if axis == 0 else -1))
    difference = (image[..., 0] - expected.reshape(SIZE, SIZE))[frontal]
    assert abs(float(difference.mean())) < 4e-3
    assert float(difference.square().mean().sqrt()) < 0.03


def pixel_centres(view: Camera) -> Tensor:
    x, y = torch.meshgrid(torch.arange(view.width) + 0.5, torch.arange(view.height) + 0.5, indexing="xy")
    return torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)


def ball_points(rays: Tensor) -> Tensor:
    """Where rays [3, P] meet the ball, relative to its centre, in the camera frame."""
    rays = normalize(rays, dim=0)
    along = rays[2] * DISTANCE
    depth = along - (along**2 - DISTANCE**2 + RADIUS**2).clamp(min=0).sqrt()
    return depth * rays - torch.tensor([[0], [0], [DISTANCE]])


def test_alpha_is_coverage_and_colour_is_premultiplied(renderer: RednerRenderer) -> None:
    """The square is 10.25 pixels wide from the principal point to each side."""
    half = 10.25 * DISTANCE / float(camera().intrinsics[0, 0, 0])
    image = renderer.render(Scene(quad(half, half), mapped(), grey(torch.ones(8, 16)), camera()), 1024, 1)[0]
    row = torch.tensor([0.0] * 5 + [0.25] + [1.0] * 20 + [0.25] + [0.0] * 5)
    np.testing.assert_allclose(image[..., 3], row[:, None] * row, atol=0.04)
    np.testing.assert_allclose(image[..., 0], 0.5 * image[..., 3], atol=0.04)


def test_an_oblong_picture_with_its_principal_point_anywhere(
    renderer: RednerRenderer, mitsuba: renderers.Renderer
) -> None:
    view = camera(40, 24, principal=(27.3, 8.6))
    skewed = view.intrinsics + torch.tensor([[0.0, 6, 0], [0, 9, 0], [0, 0, 0]])
    view = replace(view, intrinsics=skewed)
    mesh = ball(4)
    scene = Scene(mesh, at_vertices(mesh), grey(0.2 + lamp((0.5, 0.7, 0.5))), view)
    ours, theirs = (drawer.render(scene, 1024, 1)[0] for drawer in (renderer, mitsuba))
    assert ours.shape == (24, 40, 4)
    np.testing.assert_allclose(ours[..., 3], theirs[..., 3], atol=0.06)
    assert distance(ours, theirs, theirs[..., 3] == 1) < 0.06


def test_back_sides_are_black_but_there(renderer: RednerRenderer) -> None:
    mesh = quad()
    turned = replace(mesh, triangles=mesh.triangles.flip(-1), normals=-mesh.normals)
    image = renderer.render(Scene(turned, at_vertices(mesh), grey(torch.ones(8, 16)), camera()), 4, 1)[0]
    assert image[16, 16].tolist() == [0, 0, 0, 1]


def test_shadows_are_cast(renderer: RednerRenderer) -> None:
    """A plate above another hides the light from the right."""
    low, high = quad(60, 60), quad(60, 60)
    mesh = Mesh(
        torch.cat([low.vertices, high.vertices + torch.tensor([100.0, 0, 60])], 1),
        torch.cat([low.normals, high.normals], 1),
        torch.cat([low.triangles, low.triangles + 4]),
    )
    light = grey((map_directions(16)[..., 0] > 0.6).float())
    shaded = renderer.render(Scene(mesh, at_vertices(mesh), light, camera()), 64, 1)[0, ..., 0]
    alone = renderer.render(Scene(low, at_vertices(low), light, camera()), 64, 1)[0, ..., 0]
    assert shaded[16, 17:20].mean() < 0.5 * alone[16, 17:20].mean()


# Orientation


@pytest.mark.parametrize(
    ("toward", "bright"),
    [((-1.0, 0, 0.3), "left"), ((1.0, 0, 0.3), "right"), ((0, 1.0, 0.3), "top"), ((0, -1.0, 0.3), "bottom")],
)
def test_light_comes_from_where_the_map_says(
    renderer: RednerRenderer, toward: tuple[float, float, float], bright: str
) -> None:
    mesh = ball(3)
    image = renderer.render(Scene(mesh, mapped(), grey(lamp(toward, 16)), camera()), 16, 1)[0, ..., 0]
    half = {"left": image[:, :16], "right": image[:, 16:], "top": image[:16], "bottom": image[16:]}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
    assert half[bright].sum() > 3 * half[opposite[bright]].sum()


def test_map_row_0_is_at_v_1_and_column_0_at_u_0(renderer: RednerRenderer) -> None:
    texture = torch.zeros(1, 8, 8, 3)
    texture[:, :4, :4, 0] = 1  # upper left red
    texture[:, :4, 4:, 1] = 1  # upper right green
    texture[:, 4:, :4, 2] = 1  # lower left blue
    material = replace(mapped(8), diffuse=texture)
    image = renderer.render(Scene(quad(), material, grey(torch.ones(8, 16)), camera()), 64, 1)[0]
    for rows, columns, colour in (
        (slice(8, 13), slice(8, 13), [1, 0, 0]),
        (slice(8, 13), slice(19, 24), [0, 1, 0]),
        (slice(19, 24), slice(8, 13), [0, 0, 1]),
        (slice(19, 24), slice(19, 24), [0, 0, 0]),
    ):
        np.testing.assert_allclose(image[rows, columns, :3].mean((0, 1)), colour, atol=0.03)


def test_maps_do_not_wrap_around_their_borders(renderer: RednerRenderer, mitsuba: renderers.Renderer) -> None:
    """A ramp of few texels: at its ends, the outer halves of the outer texels are of one colour."""
    ramp = torch.linspace(0.1, 0.9, 4)[None, None, :, None].repeat(1, 4, 1, 3)
    scene = Scene(quad(), replace(mapped(), diffuse=ramp), grey(torch.ones(8, 16)), camera())
    ours, theirs = (drawer.render(scene, 512, 1)[0] for drawer in (renderer, mitsuba))
    np.testing.assert_allclose(ours[10:22, :, 0].mean(0), theirs[10:22, :, 0].mean(0), atol=0.012)


# The other backends


def test_vertex_values_and_maps_draw_the_same_image(renderer: RednerRenderer) -> None:
    """A linear ramp is exact in both layouts, but for roughness, where redner interpolates its fourth power."""
    mesh = quad()
    u = (torch.arange(32) + 0.5) / 32
    ramp = (0.2 + 0.5 * u)[None, None, :, None].repeat(1, 32, 1, 1)
    valued = (0.2 + 0.5 * mesh.uvs[:, :1])[None]  # type: ignore[index]
    images = [
        renderer.render(
            Scene(mesh, Material(x.repeat(*[1] * (x.dim() - 1), 3), 0.08 * x, 0.7 + 0 * x), light, camera()),
            64,
            3,
        )[0]
        for light in [grey(torch.ones(8, 16))]
        for x in (ramp, valued)
    ]
    np.testing.assert_allclose(images[0][8:24, 8:24], images[1][8:24, 8:24], rtol=0.01)


@pytest.mark.parametrize("toward", [(0.8, 0.1, 0.6), (-0.8, 0.1, 0.6), (0.1, 0.9, 0.4), (0.9, 0.1, -0.4)])
@pytest.mark.parametrize("height", [16, 64])
def test_a_diffuse_ball_agrees_with_mitsuba(
    renderer: RednerRenderer, mitsuba: renderers.Renderer, toward: tuple[float, float, float], height: int
) -> None:
    """Within noise, under a lamp on each side: redner's light is drawn in two halves."""
    mesh = ball(4)
    scene = Scene(mesh, at_vertices(mesh), grey(0.05 + lamp(toward, height)), camera())
    ours, theirs = (drawer.render(scene, 512, 1)[0] for drawer in (renderer, mitsuba))
    lit = (facing(scene.camera) > 0.5) & (theirs[..., 0] > 0.3 * theirs[..., 0].max())
    assert distance(ours, theirs, lit) < 0.04
    assert float(ours[lit][:, :3].mean()) == pytest.approx(float(theirs[lit][:, :3].mean()), rel=8e-3)


def test_a_light_of_rough_texels_agrees_with_mitsuba(
    renderer: RednerRenderer, mitsuba: renderers.Renderer
) -> None:
    mesh = ball(4)
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(16, 32, generator=generator) ** 6
    scene = Scene(mesh, at_vertices(mesh), grey(light), camera())
    ours, theirs = (drawer.render(scene, 512, 1)[0] for drawer in (renderer, mitsuba))
    assert distance(ours, theirs, facing(scene.camera) > 0.5) < 0.035
    assert float(ours[..., :3].sum()) == pytest.approx(float(theirs[..., :3].sum()), rel=0.015)


@pytest.mark.parametrize(
    ("roughness", "skin", "lobe"), [(0.3, 0.06, 0.13), (0.5, 0.055, 0.2), (0.8, 0.05, 0.4)]
)
def test_a_glossy_ball_agrees_with_mitsuba_as_far_as_the_lobes_do(
    renderer: RednerRenderer, mitsuba: renderers.Renderer, roughness: float, skin: float, lobe: float
) -> None:
    """redner's lobe has another shape: as high, wider, and without correlated shadowing.

    Bounds are on the root mean square difference, for reflectance like skin's and for the lobe alone.
    """
    mesh = ball(4)
    light = grey(0.2 + lamp((0.6, 0.3, 0.7)))
    for diffuse, specular, bound in ((0.4, 0.04, skin), (0.0, 0.08, lobe)):
        scene = Scene(mesh, at_vertices(mesh, diffuse, specular, roughness), light, camera())
        ours, theirs = (drawer.render(scene, 256, 1)[0] for drawer in (renderer, mitsuba))
        assert distance(ours, theirs, facing(scene.camera) > 0.3) < bound


def test_a_head_agrees_with_mitsuba(renderer: RednerRenderer, mitsuba: renderers.Renderer) -> None:
    with torch.no_grad():
        scene = person(create_model("open"), 64).scene()
    matte = replace(
        scene.material, specular=0 * scene.material.specular, roughness=1 + 0 * scene.material.roughness
    )
    scene = scene.with_material(matte)
    ours, theirs = (drawer.render(scene, 128, 1)[0] for drawer in (renderer, mitsuba))
    whole = theirs[..., 3] == 1
    assert float(ours[whole][:, :3].mean()) == pytest.approx(float(theirs[whole][:, :3].mean()), rel=0.01)
    assert distance(ours, theirs, whole) < 0.09  # noise of 128 samples: 0.07
    assert float(((ours[..., 3] > 0.5) != (theirs[..., 3] > 0.5)).float().mean()) < 2e-3


# Layouts, batches, seeds


def test_scenes_of_a_batch_are_drawn_each_by_itself(renderer: RednerRenderer) -> None:
    mesh = ball(3)
    one = Scene(mesh, at_vertices(mesh, 0.2), grey(torch.ones(8, 16)), camera())
    other = Scene(mesh, at_vertices(mesh, 0.8), grey(0.5 * torch.ones(8, 16)), camera(principal=(20, 12)))

    def both(pick: str) -> Tensor:
        part, field = pick.split(".")
        return torch.cat([getattr(getattr(scene, part), field) for scene in (one, other)])

    diffuse = both("material.diffuse").requires_grad_()
    batch = Scene(
        replace(mesh, vertices=both("mesh.vertices"), normals=both("mesh.normals")),
        Material(diffuse, both("material.specular"), both("material.roughness")),
        Environment(both("environment.radiance")),
        replace(
            one.camera,
            intrinsics=both("camera.intrinsics"),
            rotation=both("camera.rotation"),
            translation=both("camera.translation"),
        ),
    )
    images = renderer.render(batch, 64, 5)
    assert images.shape == (2, SIZE, SIZE, 4)
    for image, alone in zip(images, (one, other), strict=True):
        expected = renderer.render(alone, 64, 6)[0]
        np.testing.assert_allclose(image.detach().sum((0, 1)), expected.sum((0, 1)), rtol=0.02)
    (gradient,) = torch.autograd.grad(images[1, ..., :3].sum(), diffuse)
    assert gradient[0].eq(0).all()
    assert gradient[1].sum() > 0


def test_one_seed_one_image(renderer: RednerRenderer) -> None:
    scene = Scene(ball(3), mapped(), grey(torch.ones(8, 16)), camera())
    first, again, other = (renderer.render(scene, 4, seed) for seed in (11, 11, 12))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class SeedRecorder:
    """An engine that writes down the seeds it is asked to use."""

    def __init__(self, engine: Engine) -> None:
        self.seeds: list[int] = []
        self._engine = engine

    def load(self, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> SeedRecorder:
        self._scene = self._engine.load(arrays, options)
        return self

    def draw(self, samples: list[int], seeds: list[int]) -> np.ndarray:
        self.seeds += seeds
        return self._scene.draw(samples, seeds)

    def differentiate(self, adjoint: np.ndarray, samples: list[int], seeds: list[int]) -> dict[str, np.ndarray]:
        self.seeds += seeds
        return self._scene.differentiate(adjoint, samples, seeds)

    def close(self) -> None:
        self._engine.close()


def test_photos_and_passes_have_random_numbers_of_their_own(renderer: RednerRenderer) -> None:
    recorder = SeedRecorder(renderer._engine)
    mesh = ball(1)
    scene = Scene(mesh, at_vertices(mesh), grey(torch.ones(8, 16)), camera())
    twice = Scene(
        replace(mesh, vertices=mesh.vertices.repeat(2, 1, 1), normals=mesh.normals.repeat(2, 1, 1)),
        Material(*(values.repeat(2, 1, 1) for values in vars(scene.material).values())),
        Environment(scene.environment.radiance.repeat(2, 1, 1, 1).requires_grad_()),
        replace(
            scene.camera,
            intrinsics=scene.camera.intrinsics.repeat(2, 1, 1),
            rotation=scene.camera.rotation.repeat(2, 1),
            translation=scene.camera.translation.repeat(2, 1),
        ),
    )
    RednerRenderer(recorder).render(twice, 1, 5).sum().backward()
    assert len(recorder.seeds) == len(set(recorder.seeds)) == 8  # photos, passes and halves of the light


def test_a_light_with_black_texels_has_gradients_there(renderer: RednerRenderer) -> None:
    """Of a square that faces the camera: texels weigh as the cosine, lit or not."""
    radiance = torch.ones(1, 8, 16, 3)
    radiance[:, :, :8] = 0  # everything on the right, the middle column included
    radiance.requires_grad_()
    image = renderer.render(Scene(quad(), mapped(), Environment(radiance), camera()), 512, 1)
    (gradient,) = torch.autograd.grad(image[0, 8:24, 8:24, 0].mean(), radiance)
    assert float(gradient.sum()) == pytest.approx(0.5, rel=0.03)
    assert float(gradient[:, :, :8].sum()) == pytest.approx(0.25, rel=0.05)


def test_double_precision_scenes_get_double_precision_back(renderer: RednerRenderer) -> None:
    scene = Scene(ball(2), mapped(), grey(torch.ones(8, 16)), camera())
    diffuse = scene.material.diffuse.double().requires_grad_()
    doubled = Scene(
        replace(scene.mesh, vertices=scene.mesh.vertices.double(), normals=scene.mesh.normals.double()),
        Material(diffuse, scene.material.specular.double(), scene.material.roughness.double()),
        Environment(scene.environment.radiance.double()),
        replace(
            scene.camera,
            intrinsics=scene.camera.intrinsics.double(),
            rotation=scene.camera.rotation.double(),
            translation=scene.camera.translation.double(),
        ),
    )
    image = renderer.render(doubled, 4, 1)
    (gradient,) = torch.autograd.grad(image.sum(), diffuse)
    assert image.dtype == gradient.dtype == torch.float64


def test_a_black_light_draws_black(renderer: RednerRenderer) -> None:
    image = renderer.render(Scene(quad(), mapped(), grey(torch.zeros(8, 16)), camera()), 4, 1)[0]
    assert image[16, 16].tolist() == [0, 0, 0, 1]


def test_not_a_number_is_drawn_as_such_and_does_no_harm(renderer: RednerRenderer) -> None:
    mesh = ball(2)
    values = at_vertices(mesh)
    light = torch.ones(8, 16)
    for scene in (
        Scene(replace(mesh, vertices=mesh.vertices * torch.nan), values, grey(light), camera()),
        Scene(mesh, replace(values, diffuse=values.diffuse * torch.nan), grey(light), camera()),
        Scene(mesh, values, grey(light * torch.inf), camera()),
    ):
        diffuse = scene.material.diffuse.clone().requires_grad_()
        image = renderer.render(scene.with_material(replace(scene.material, diffuse=diffuse)), 2, 1)
        assert image.isnan().all()
        assert torch.autograd.grad(image.sum(), diffuse)[0].isnan().all()
    assert renderer.render(Scene(mesh, values, grey(light), camera()), 2, 1).isfinite().all()


def test_wrong_shapes_are_refused_by_name(renderer: RednerRenderer) -> None:
    scene = Scene(quad(), mapped(), Environment(torch.ones(1, 8, 8, 3)), camera())
    with pytest.raises(ValueError, match=r"environment\.light"):
        renderer.render(scene, 4, 1)
    with pytest.raises(ValueError, match="samples"):
        renderer.render(replace(scene, environment=grey(torch.ones(8, 16))), 0, 1)


def test_a_new_mesh_of_the_same_size_is_noticed(renderer: RednerRenderer) -> None:
    mesh = quad()
    texture = replace(mapped(), diffuse=torch.linspace(0, 1, 4)[None, None, :, None].repeat(1, 4, 1, 3))
    light = grey(torch.ones(8, 16))
    renderer.render(Scene(mesh, texture, light, camera()), 4, 1)
    mirrored = replace(mesh, uvs=torch.stack([1 - mesh.uvs[:, 0], mesh.uvs[:, 1]], -1))  # type: ignore[index]
    image = renderer.render(Scene(mirrored, texture, light, camera()), 4, 1)[0]
    assert image[16, 9, 0] > image[16, 22, 0]


def test_more_bounces_agree_with_mitsuba(mitsuba: renderers.Renderer) -> None:
    """Two balls that lighten each other."""
    require_redner()
    solid = trimesh.util.concatenate(
        [trimesh.creation.icosphere(3, radius=60).apply_translation([side * 60, 0, 0]) for side in (-1, 1)]
    )
    vertices = torch.tensor(solid.vertices, dtype=torch.float32)
    centres = torch.tensor([60.0, 0, 0]) * vertices[:, :1].sign()
    mesh = Mesh(
        vertices[None], normalize(vertices - centres, dim=-1)[None], torch.tensor(np.asarray(solid.faces))
    )
    scene = Scene(mesh, at_vertices(mesh, 0.9), grey(1 + 0.8 * map_directions(32)[..., 1]), camera())
    means = []
    for name in ("redner", "mitsuba"):
        drawer = renderers.create(name, Settings("cpu", max_bounces=3, threads=1))
        means.append(drawer.render(scene, 256, 1)[0, 10:22, 12:20, 0].mean())
        drawer.close()
    direct = mitsuba.render(scene, 256, 1)[0, 10:22, 12:20, 0].mean()
    assert float(means[0]) == pytest.approx(float(means[1]), rel=0.015)
    assert float(means[0]) > 1.1 * float(direct)


# Gradients against central finite differences


def smooth(channels: int, seed: int, low: float, high: float, size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 10, 10, generator=generator)
    fine = interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return low + (high - low) * fine.clamp(0, 1).permute(0, 2, 3, 1)


def values_of_a_textured_ball() -> dict[str, Tensor]:
    mesh, view = ball(4), camera()
    return {
        "vertices": mesh.vertices,
        "normals": mesh.normals,
        "diffuse": smooth(3, 4, 0.05, 0.95),
        "specular": smooth(1, 5, 0.02, 0.08),
        "roughness": smooth(1, 6, 0.4, 0.8),
        "radiance": (0.3 + 2 * lamp((0.5, 0.4, 0.8), 16, 8) + lamp((-0.8, 0, 0.4), 16, 20))[
            None, ..., None
        ].repeat(1, 1, 1, 3),
        "intrinsics": view.intrinsics,
        "rotation": view.rotation,
        "translation": view.translation,
    }


def entry(shape: tuple[int, ...], *index: int) -> Tensor:
    return torch.zeros(shape).index_put(tuple(torch.tensor(i) for i in (0, *index)), torch.tensor(1.0))


def bend(vertices: Tensor) -> Tensor:
    x, y, z = (vertices / RADIUS).unbind(-1)
    return torch.stack([torch.sin(2.5 * y), torch.cos(2 * x), torch.sin(3 * z)], -1)


def sway(height: int) -> Tensor:
    mixed = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]])
    return map_directions(height).float()[None] @ mixed


DIRECTIONS = {
    "vertices": (lambda x: bend(x["vertices"]), 0.5),
    "normals": (lambda x: torch.linalg.cross(x["normals"], bend(x["vertices"])), 0.05),
    "diffuse": (lambda x: smooth(3, 7, -0.5, 0.5), 0.1),
    "specular": (lambda x: smooth(1, 8, -0.5, 0.5), 0.03),
    "roughness": (lambda x: 0.05 + smooth(1, 9, -0.5, 0.5), 0.1),
    "radiance": (lambda x: sway(16), 0.2),
    "focal length": (lambda x: entry((1, 3, 3), 0, 0) + entry((1, 3, 3), 1, 1), 1.0),
    "principal point": (lambda x: entry((1, 3, 3), 0, 2) + entry((1, 3, 3), 1, 2), 0.3),
    "skew": (lambda x: entry((1, 3, 3), 0, 1), 1.0),
    "rotation": (lambda x: entry((1, 3), 1), 0.01),
    "translation": (lambda x: entry((1, 3), 0) + 2 * entry((1, 3), 2), 1.0),
}
TENSOR = {"focal length": "intrinsics", "principal point": "intrinsics", "skew": "intrinsics"}


def draw_ball(renderer: RednerRenderer, x: dict[str, Tensor], samples: int, seed: int) -> Tensor:
    mesh = ball(4)
    scene = Scene(
        replace(mesh, vertices=x["vertices"], normals=x["normals"]),
        Material(x["diffuse"], x["specular"], x["roughness"]),
        Environment(x["radiance"]),
        Camera(x["intrinsics"], x["rotation"], x["translation"], SIZE, SIZE),
    )
    return renderer.render(scene, samples, seed)[0]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_directional_derivatives_agree_with_finite_differences(renderer: RednerRenderer, name: str) -> None:
    """Over pixels of a convex ball away from its outline.

    The loss weighs pixels by how much they change, so that signal and not noise decides; the analytic
    derivative has samples of its own.
    """
    values = values_of_a_textured_ball()
    key = TENSOR.get(name, name)
    make_direction, step = DIRECTIONS[name]
    direction = make_direction(values)
    inside = (facing(camera()) > 0.45)[..., None]

    def draw(value: Tensor, samples: int, seed: int) -> Tensor:
        return draw_ball(renderer, {**values, key: value}, samples, seed)[..., :3] * inside

    def difference(samples: int, seed: int) -> Tensor:
        ahead, behind = (draw(values[key] + side * step * direction, samples, seed) for side in (1, -1))
        return (ahead - behind) / (2 * step)

    weights = difference(64, 1)
    weights = avg_pool2d(weights.permute(2, 0, 1)[None], 3, 1, 1)[0].permute(1, 2, 0)
    expected = (difference(256, 2) * weights).sum()
    leaf = values[key].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((draw(leaf, 256, 3) * weights).sum(), leaf)
    ratio = float((gradient * direction).sum() / expected)
    assert ratio == pytest.approx(1, abs=0.03)


# Gradients that see silhouettes move


@pytest.mark.parametrize("name", ["translation", "focal length", "vertices"])
def test_alpha_follows_the_outline_where_edges_are_seen(edge_renderer: RednerRenderer, name: str) -> None:
    """Within 5 % of finite differences, for a loss over the whole alpha channel."""
    values = values_of_a_textured_ball()
    key = TENSOR.get(name, name)
    direction = {
        "translation": entry((1, 3), 0) - entry((1, 3), 1),
        "focal length": entry((1, 3, 3), 0, 0) + entry((1, 3, 3), 1, 1),
        "vertices": values["vertices"] / RADIUS,
    }[name]
    ramp = torch.linspace(-1, 1, SIZE)
    weights = {"translation": ramp[None, :] - ramp[:, None]}.get(name, torch.ones(SIZE, SIZE))

    def loss(value: Tensor, samples: int, seed: int) -> Tensor:
        return (draw_ball(edge_renderer, {**values, key: value}, samples, seed)[..., 3] * weights).sum()

    with torch.no_grad():
        ahead, behind = (loss(values[key] + side * 2 * direction, 512, 1) for side in (1, -1))
    expected = (ahead - behind) / 4
    leaf = values[key].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, 64, 3), leaf)
    assert float((gradient * direction).sum()) == pytest.approx(float(expected), rel=0.05)


def test_alpha_has_no_gradient_where_edges_are_not_seen(renderer: RednerRenderer) -> None:
    values = values_of_a_textured_ball()
    leaf = values["translation"].clone().requires_grad_()
    image = draw_ball(renderer, {**values, "translation": leaf}, 4, 1)
    (gradient,) = torch.autograd.grad(image[:, :16, 3].sum(), leaf)
    assert gradient.abs().max() == 0


def test_radiance_follows_the_outline_where_edges_are_seen(edge_renderer: RednerRenderer) -> None:
    """Over the whole picture of a matte ball; a glossy one has rare, large derivatives at the rim."""
    values = values_of_a_textured_ball()
    values["specular"], values["roughness"] = 0 * values["specular"], 1 + 0 * values["roughness"]
    ramp = torch.linspace(-1, 1, SIZE)[None, :, None]

    def loss(value: Tensor, samples: int, seed: int) -> Tensor:
        image = draw_ball(edge_renderer, {**values, "translation": value}, samples, seed)
        return (image[..., :3] * ramp).sum()

    direction = entry((1, 3), 0)
    with torch.no_grad():
        ahead, behind = (loss(values["translation"] + side * 4 * direction, 512, 1) for side in (1, -1))
    leaf = values["translation"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, 384, 3), leaf)
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 8, rel=0.05)
