"""Light transfer in redner's stead: its lobe and its images, without redner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PORTRAIT, TINY
from lit_head import distance, lit_head, of_all_pixels, skin
from redner_set_up import require_redner
from scipy.spatial.transform import Rotation
from simple_scenes import camera, quad
from torch import Tensor

import renderers
from nextface import reconstruct
from nextface.config import Config
from nextface.fitting.transfer.renderer import TransferRenderer
from nextface.scene import Environment, Material, Scene
from nextface.scene.lighting import fibonacci_directions
from renderers.redner.lobe import BlinnPhong
from renderers.redner.renderer import RednerRenderer
from renderers.settings import Settings

SAMPLES = 256


@pytest.fixture(scope="module")
def renderer() -> Iterator[RednerRenderer]:
    require_redner()
    pytest.importorskip("embreex")
    torch.set_num_threads(1)
    renderer = renderers.create("redner", Settings(threads=1))
    assert isinstance(renderer, RednerRenderer)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def head() -> Scene:
    return lit_head()


@pytest.fixture(scope="module")
def transfer(renderer: RednerRenderer, head: Scene) -> TransferRenderer:
    return of_all_pixels(renderer, head)


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("cosine", [0.02, 0.3, 0.8, 1.0])
def test_what_even_light_gives_is_the_sum_over_directions(roughness: float, cosine: float) -> None:
    directions = fibonacci_directions(200_000)
    leaving = torch.tensor([[cosine]], dtype=torch.float64)
    view = torch.tensor([[math.sqrt(1 - cosine**2), 0, cosine]], dtype=torch.float64)
    arriving = directions[None, :, 2].clamp(min=0)
    along = ((view @ directions.T + 1) / 2).clamp(min=1e-12)  # (v.h)^2
    half = ((arriving + leaving).square() / (4 * along)).clamp(max=1)
    lobe = torch.empty(1, *arriving.shape, dtype=torch.float64)
    BlinnPhong().evaluate([roughness], arriving, leaving, half, lobe)
    schlick = (1 - along.sqrt()).clamp(min=0) ** 5
    plain, grazing = BlinnPhong().directional_albedo(roughness, leaving[0])
    size = 4 * math.pi / len(directions)
    assert float((lobe[0] * (1 - schlick)).sum() * size) == pytest.approx(float(plain), rel=0.01, abs=1e-4)
    assert float((lobe[0] * schlick).sum() * size) == pytest.approx(float(grazing), rel=0.01, abs=1e-4)


@pytest.mark.parametrize("roughness", [0.4, 0.8])
@pytest.mark.parametrize("specular", [0.0, 0.08])
@pytest.mark.parametrize("turned", [0, 55, 75])
def test_redner_reflects_what_its_lobe_says(
    renderer: RednerRenderer, turned: float, specular: float, roughness: float
) -> None:
    """A square under even light, seen from `turned` degrees off its normal; black but for the lobe."""
    view = camera(16, focal=5e3)
    rotation = Rotation.from_rotvec([math.pi, 0, 0]) * Rotation.from_euler("y", turned, degrees=True)
    view = replace(view, rotation=torch.from_numpy(rotation.as_rotvec())[None].float())
    values = torch.ones(1, 4, 4, 1)
    material = Material(values.expand(-1, -1, -1, 3) * 0, values * specular, values * roughness)
    scene = Scene(quad(), material, Environment(torch.ones(1, 16, 32, 3)), view)
    image = renderer.render(scene, 512, 1)[0]
    assert image[..., 3].eq(1).all()
    plain, grazing = BlinnPhong().directional_albedo(roughness, torch.tensor([math.cos(math.radians(turned))]))
    expected = float(specular * plain + grazing)
    assert float(image[..., :3].mean()) == pytest.approx(expected, rel=0.01, abs=2e-5)


@pytest.mark.parametrize(
    ("diffuse", "specular", "roughness", "bound"),
    [(0.4, 0.04, 0.5, 0.01), (0.0, 0.05, 0.5, 0.03)],
    ids=["skin", "lobe alone"],
)
def test_radiance_is_redners(
    transfer: TransferRenderer,
    renderer: RednerRenderer,
    head: Scene,
    diffuse: float,
    specular: float,
    roughness: float,
    bound: float,
) -> None:
    scene = skin(head, diffuse, specular, roughness)
    assert distance(transfer.render(scene, 1, 1)[0], scene, renderer, SAMPLES) < bound


def test_light_that_bounces_is_redners(transfer: TransferRenderer, head: Scene) -> None:
    bouncing = renderers.create("redner", Settings(threads=1, max_bounces=2))
    assert isinstance(bouncing, RednerRenderer)
    scene = skin(head, 0.5, 0.03, 0.5)
    assert distance(of_all_pixels(bouncing, head).render(scene, 1, 1)[0], scene, bouncing, SAMPLES // 2) < 0.018
    assert distance(transfer.render(scene, 1, 1)[0], scene, bouncing, SAMPLES // 2) > 0.03
    bouncing.close()


def test_fitting_asks_redner_for_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_redner()
    pytest.importorskip("embreex")
    drawn = []
    draw = RednerRenderer.render

    def counting(self: RednerRenderer, scene: Scene, samples: int, seed: int) -> Tensor:
        drawn.append(samples)
        return draw(self, scene, samples, seed)

    monkeypatch.setattr(RednerRenderer, "render", counting)
    config = Config(renderer="redner", threads=1, **TINY | {"iterStep3": 5})  # type: ignore[arg-type]
    found = reconstruct(PORTRAIT, tmp_path, config)
    assert found.material is not None and torch.isfinite(found.material.diffuse).all()
    assert config.rtTrainingSamples != config.rtSamples
    assert drawn and config.rtTrainingSamples not in drawn
