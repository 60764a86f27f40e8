"""The two forms of a light, coefficients and map, and what is made of them."""

import pytest
import torch
from simple_scenes import camera, quad

from nextface.scene import Environment, Material, Scene
from nextface.scene.lighting import map_directions, positive_lobes, sh_basis
from renderers.renderer import Renderer
from renderers.vertex import VertexRenderer


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
