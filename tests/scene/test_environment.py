"""The two forms of a light, coefficients and map, and what is made of them."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from simple_scenes import camera, quad

from nextface.scene import Environment, Material, Scene
from nextface.scene.geometry import rotation_matrix
from nextface.scene.lighting import (
    fibonacci_directions,
    map_directions,
    positive_kernel,
    positive_lobes,
    scale_bands,
    sh_basis,
    sh_rotation,
)
from renderers.renderer import Renderer
from renderers.vertex.renderer import VertexRenderer


def fitted_light(bands: int = 5, photos: int = 2) -> torch.Tensor:
    """Coefficients [photos, bands^2, 3] of lights that are nowhere negative, float64."""
    generator = torch.Generator().manual_seed(bands)
    power = torch.rand(photos, 40, 3, generator=generator, dtype=torch.float64)
    return positive_lobes(bands, 40) @ power


def test_coefficients_become_a_map_of_any_height_and_come_back() -> None:
    light = fitted_light()
    environment = Environment(light, 24)
    assert environment.bands == 5 and environment.radiance.shape == (2, 24, 48, 3)
    direct = sh_basis(map_directions(16), 5) @ light[0]
    torch.testing.assert_close(environment.map(16)[0], direct.view(16, 32, 3))
    loaded = Environment(environment.map(16))
    assert loaded.bands == 16  # as many as its rows tell apart
    torch.testing.assert_close(loaded.coefficients(5), light, atol=1e-9, rtol=0)


def test_bands_are_cut_off_or_zero_and_a_map_needs_rows() -> None:
    light = fitted_light()
    environment = Environment(light)
    assert torch.equal(environment.coefficients(3), light[:, :9])
    assert torch.equal(environment.coefficients(6)[:, :25], light)
    assert not environment.coefficients(6)[:, 25:].any()
    with pytest.raises(ValueError, match="9 bands"):
        Environment(environment.map(8)).coefficients(9)
    with pytest.raises(ValueError, match="8 rows, not 16"):
        Environment(environment.map(8)).map(16)


def test_a_map_is_made_once_unless_gradients_flow() -> None:
    environment = Environment(fitted_light())
    assert environment.map(16) is environment.map(16)
    assert environment.map(16) is not environment.map(8)
    leaf = fitted_light().requires_grad_()
    tracked = Environment(leaf)
    before = tracked.radiance.detach()
    weight = torch.linspace(0, 1, before.numel(), dtype=torch.float64).view_as(before)
    for _ in range(2):  # a graph that was gone through does not stand in the way of the next
        leaf.grad = None
        (tracked.radiance * weight).sum().backward()
    step = torch.ones_like(leaf)
    expected = ((Environment(leaf.detach() + step).radiance - before) * weight).sum()
    assert float((leaf.grad * step).sum()) == pytest.approx(float(expected))  # it is linear
    with torch.no_grad():
        leaf += 1  # as an optimiser does
    assert not torch.allclose(tracked.radiance.detach(), before)


def test_one_photo_of_several() -> None:
    light = fitted_light()
    alone = Environment(light, 24)[1:2]
    assert torch.equal(alone.radiance, Environment(light, 24).radiance[1:2])


@pytest.fixture(scope="module", params=["vertex", "mitsuba"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    if request.param == "vertex":
        return VertexRenderer()
    from renderers.mitsuba.renderer import MitsubaRenderer

    return MitsubaRenderer("cpu")


def test_renderers_draw_both_forms_alike(renderer: Renderer) -> None:
    values = torch.full((1, 4, 1), 0.5)
    light = fitted_light(bands=9, photos=1).float()
    scenes = [
        Scene(quad(), Material(values.repeat(1, 1, 3), 0.1 * values, values), environment, camera())
        for environment in (Environment(light, 32), Environment(Environment(light).map(32)))
    ]
    first, second = (renderer.render(scene, 16, 1) for scene in scenes)
    torch.testing.assert_close(first, second, atol=2e-5, rtol=0)
    assert first.max() > 0.1


# Light that is turned


def some_rotations(count: int = 4) -> torch.Tensor:
    turns = Rotation.random(count, rng=np.random.default_rng(5)).as_matrix()
    return torch.from_numpy(turns)


@pytest.mark.parametrize("bands", [1, 2, 4, 9, 12])
def test_a_turned_light_sends_from_a_turned_direction_what_it_sent_before(bands: int) -> None:
    """Against direct evaluation, and against the closed form of lobes: turned lobes are lobes elsewhere."""
    light, rotation = fitted_light(bands, 4), some_rotations()
    turned = Environment(light).turned(rotation).light
    directions = fibonacci_directions(500)
    before = sh_basis(directions, bands) @ light
    after = sh_basis(directions @ rotation.mT, bands) @ turned
    torch.testing.assert_close(after, before, atol=1e-10, rtol=0)
    power = torch.rand(40, 3, generator=torch.Generator().manual_seed(bands), dtype=torch.float64)
    elsewhere = sh_basis(fibonacci_directions(40) @ rotation[0].T, bands)
    factors = positive_kernel(bands)
    expected = scale_bands((elsewhere.mT @ power)[None], factors)[0]
    lobes = scale_bands((sh_basis(fibonacci_directions(40), bands).mT @ power)[None], factors)
    torch.testing.assert_close(Environment(lobes).turned(rotation[:1]).light[0], expected, atol=1e-10, rtol=0)


def test_single_precision_turns_to_1e_5() -> None:
    light, rotation = fitted_light(9, 4), some_rotations()
    exact = Environment(light).turned(rotation).light
    single = Environment(light.float()).turned(rotation.float()).light
    assert float((single - exact).abs().max()) < 1e-5 * float(exact.abs().max())


def test_turns_follow_each_other_and_keep_lengths() -> None:
    first, second = some_rotations(2)
    both = sh_rotation(second @ first, 9)
    torch.testing.assert_close(both, sh_rotation(second, 9) @ sh_rotation(first, 9), atol=1e-10, rtol=0)
    torch.testing.assert_close(both @ both.mT, torch.eye(81, dtype=torch.float64), atol=1e-10, rtol=0)


def test_the_first_band_turns_as_vectors_do() -> None:
    rotation = some_rotations(1)[0]
    axes = [1, 2, 0]  # y, z, x
    torch.testing.assert_close(sh_rotation(rotation, 2)[1:, 1:], rotation[axes][:, axes], atol=1e-12, rtol=0)


def test_a_turn_about_the_pole_is_a_turn_of_azimuths() -> None:
    """Closed form: c cos(m phi) + s sin(m phi) becomes the same of phi - angle."""
    angle = 0.7
    rotation = torch.from_numpy(Rotation.from_euler("z", angle).as_matrix())
    matrix = sh_rotation(rotation, 6)
    for degree in range(6):
        for m in range(1, degree + 1):
            cosine, sine = degree * (degree + 1) + m, degree * (degree + 1) - m
            block = matrix[[cosine, sine]][:, [cosine, sine]]
            c, s = math.cos(m * angle), math.sin(m * angle)
            torch.testing.assert_close(
                block, torch.tensor([[c, -s], [s, c]], dtype=torch.float64), atol=1e-10, rtol=0
            )


def test_derivatives_of_a_turn_equal_finite_differences() -> None:
    light = fitted_light(5, 1)
    vector = torch.tensor([[0.3, -0.8, 0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: Environment(light).turned(rotation_matrix(v)).light, vector)
    origin = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: Environment(light).turned(rotation_matrix(v)).light, origin)


def test_a_turned_map_is_the_map_of_the_turned_light() -> None:
    """To the accuracy of linear interpolation, also across the seam and over the poles."""
    light, rotation = fitted_light(3, 4), some_rotations()
    expected = Environment(light, 128).turned(rotation).radiance
    found = Environment(Environment(light).map(128)).turned(rotation).radiance
    assert float((found - expected).abs().max()) < 2e-3 * float(expected.max())
    same = Environment(Environment(light).map(16))
    unturned = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    torch.testing.assert_close(same.turned(unturned).radiance, same.radiance, atol=1e-12, rtol=0)
