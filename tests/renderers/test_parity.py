"""Every renderer against one reference and the same conventions: a part of the table in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from redner_set_up import require_redner

import renderers
from benchmarks.parity.measures import (
    PARAMETERS,
    ImageDifference,
    Plan,
    changes,
    compare,
    derivative_error,
    derivatives,
    grown,
    loss_weights,
)
from benchmarks.parity.reference import Points, Reference
from benchmarks.parity.scenes import CASES, smooth_field
from nextface.scene import Environment, Scene
from nextface.scene.lighting import map_directions
from renderers.renderer import Renderer
from renderers.settings import Settings

SIZE = 64
SIDE = 2
SAMPLES = {"vertex": 1, "mitsuba": 256, "redner": 64}
THREE = ("sphere-diffuse-sh9", "face-diffuse-side", "face-glossy-0.5-sh9")


@pytest.fixture(scope="module", params=tuple(renderers.backends()))
def renderer(request: pytest.FixtureRequest) -> Iterator[Renderer]:
    if request.param == "redner":
        require_redner()
    torch.set_num_threads(1)
    built = renderers.create(request.param, Settings("cpu", threads=1))
    yield built
    built.close()


@cache
def reference(name: str) -> tuple[Points, list[np.ndarray], np.ndarray]:
    made = Reference(CASES[name].scene(SIZE))
    points = made.points(SIDE)
    coverage = points.seen.mean(-1)[..., None]
    plain = made.unshadowed(points) if name == "sphere-diffuse-sh9" else np.zeros((SIZE, SIZE, 3))
    return points, [made.shadowed(128, seed) for seed in (1, 2)], np.concatenate([plain, coverage], -1)


def pictures(renderer: Renderer, name: str) -> list[np.ndarray]:
    scale = SIDE if renderer.shades_vertices else 1
    scene = CASES[name].scene(scale * SIZE)
    images = [renderer.render(scene, SAMPLES[renderer.name], seed)[0].double().numpy() for seed in (3, 4)]
    return [grown(image, scale) for image in images]


def excess(difference: ImageDifference) -> float:
    """What of a difference is not noise."""
    return float(np.sqrt(max(0.0, difference.rms**2 - difference.noise**2)))


@pytest.mark.parametrize("name", THREE)
def test_pictures_agree_with_the_reference(renderer, name):
    """Within Monte Carlo error: what is left without noise is as small as noise lets it be told."""
    if not renderer.casts_shadows and name.startswith("face"):
        pytest.skip("this renderer casts no shadows")
    points, shadowed, _ = reference(name)
    found = compare(pictures(renderer, name), shadowed, points)
    glossy = "glossy" in name and renderer.name == "redner"  # another lobe, wider than GGX
    assert abs(found.bias) < (0.02 if glossy else 0.005), found
    assert excess(found) < 0.01 + 0.3 * found.noise, found
    assert found.noise < 0.12 and found.overlap > 0.99, found


def test_pictures_agree_with_quadrature(renderer):
    """No ray tracer in the reference: the sum of light over all of the environment's texels."""
    points, _, unshadowed = reference("sphere-diffuse-sh9")
    found = compare(pictures(renderer, "sphere-diffuse-sh9"), 2 * [unshadowed], points)
    assert abs(found.bias) < 0.003, found
    assert excess(found) < 0.005 + 0.3 * found.noise, found


@pytest.mark.parametrize("name", ["light", "diffuse", "specular"])
def test_derivatives_agree_with_finite_differences(renderer, name):
    """By light and maps, on a head with shadows, over the whole picture."""
    parameter = next(item for item in PARAMETERS if item.name == name)
    scene, samples = CASES["face-glossy-0.5-sh9"].scene(32), SAMPLES[renderer.name]
    samples *= 2 if name == "specular" else 1  # the lobe is a small part of the picture
    guide, change = (changes(renderer, scene, parameter, Plan(samples, seed)) for seed in (1, 2))
    loss = loss_weights(guide, torch.ones(32, 32, 1))
    found = derivatives(renderer, scene, parameter, loss, Plan(samples, 3))
    difference = derivative_error(found, guide, change, loss)
    assert difference.error < 0.03 + 3 * difference.noise, difference
    assert difference.noise < 0.1, difference


# Conventions


def lit_from(scene: Scene, toward: tuple[float, float, float]) -> Scene:
    direction = torch.nn.functional.normalize(torch.tensor(toward, dtype=torch.float64), dim=0)
    radiance = (20 * (map_directions(16) @ direction - 1)).exp()[None, ..., None].repeat(1, 1, 1, 3)
    return replace(scene, environment=Environment(radiance.float()))


@pytest.mark.parametrize(
    ("toward", "bright"), [((-1.0, 0, 0.3), "left"), ((1.0, 0, 0.3), "right"), ((0.0, 1, 0.3), "top")]
)
def test_light_comes_from_the_same_side_everywhere(renderer, toward, bright):
    scene = lit_from(CASES["sphere-diffuse-sh9"].scene(24), toward)
    image = renderer.render(scene, 32, 1)[0, ..., 0]
    halves = {"left": image[:, :12], "right": image[:, 12:], "top": image[:12], "bottom": image[12:]}
    opposite = {"left": "right", "right": "left", "top": "bottom"}[bright]
    assert halves[bright].sum() > 3 * halves[opposite].sum()


def test_marked_corner_of_a_map_lies_in_the_same_place_everywhere(renderer):
    """A quarter of the map is bright: u > 0.5 and v > 0.5, which is the ball's upper right."""
    scene = CASES["sphere-diffuse-sh9"].scene(24).with_white_light()
    diffuse = torch.full_like(scene.material.diffuse, 0.1)
    half = diffuse.shape[1] // 2
    diffuse[:, :half, half:] = 0.9
    image = renderer.render(scene.with_material(replace(scene.material, diffuse=diffuse)), 32, 1)[0, ..., 0]
    np.testing.assert_allclose(image[7:11, 14:18].mean(), 0.9, rtol=0.1)
    right, left, lower = slice(14, 18), slice(6, 10), slice(14, 18)
    for rows, columns in ((slice(7, 11), left), (lower, right), (lower, left)):
        np.testing.assert_allclose(image[rows, columns].mean(), 0.1, rtol=0.2)


# The measures themselves


def test_compare_tells_noise_from_error():
    generator = np.random.default_rng(1)
    ahead = np.broadcast_to([0.0, 0, -1], (40, 40, 1, 3))
    points = Points(np.ones((40, 40, 1), bool), ahead, ahead, np.zeros((40, 40, 1, 2)))
    clean = np.ones((40, 40, 4))
    clean[0, :, 3] = 0.5
    noisy = [clean + generator.normal(size=clean.shape) * [0.1, 0.1, 0.1, 0] for _ in range(2)]
    brighter = np.array([0.02, 0.02, 0.02, 0])
    found = compare([image + brighter for image in noisy], 2 * [clean], points)
    assert found.bias == pytest.approx(0.02, abs=0.005)
    assert found.noise == pytest.approx(0.1 / np.sqrt(2), rel=0.05)
    assert excess(found) == pytest.approx(0.02, abs=0.01)
    assert found.overlap == 1


def test_smooth_fields_are_smooth_and_bounded():
    place = 100 * torch.randn(1000, 3, generator=torch.Generator().manual_seed(2))
    values, near = smooth_field(place, 3, 5), smooth_field(place + 1, 3, 5)
    assert values.abs().max() <= 1 and values.std() > 0.2
    assert (values - near).abs().max() < 0.07
