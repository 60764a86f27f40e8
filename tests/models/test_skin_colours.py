"""The skin colours that the embedded model knows are people's, and a photo says which of them it shows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from made_shots import made_shot, on_model
from rendered_photo import person
from scipy.optimize import least_squares
from skimage.color import lab2rgb, rgb2lab
from torch import Tensor

from benchmarks.scoring.albedo import typology_angle
from nextface.config import DEFAULTS
from nextface.fitting.landmarks.illumination import guess_lights
from nextface.fitting.statistical.adam import StatisticalSettings, StatisticalWeights
from nextface.fitting.statistical.gauss_newton import fit_by_gauss_newton
from nextface.fitting.terms.losses import WHITE_CARD
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.fitting.terms.watcher import Watcher
from nextface.models.appearance import Appearance
from nextface.models.open_head import load_open_head
from nextface.person.reconstruction import Reconstruction
from nextface.scene.colour import linear_to_srgb, srgb_to_linear
from nextface.scene.lighting import cosine_kernel, fibonacci_directions, scale_bands, sh_basis
from nextface.scene.raster import interpolate, rasterize_scene
from renderers.vertex.renderer import VertexRenderer

TONE = ("melanin", "blood", "undertone")
SIZE = 64


def of_srgb(code: str) -> tuple[float, float, float]:
    """CIELAB (D65) of an sRGB colour in hexadecimal."""
    return tuple(rgb2lab(np.frombuffer(bytes.fromhex(code), np.uint8) / 255).tolist())  # type: ignore[return-value]


# CIELAB under D65 of people's skin, none of which the ground truth was painted after.
PUBLISHED = {
    # McCamy, Marcus and Davidson, "A color-rendition chart", 1976: the mean of many reflectances of light and
    # of dark skin, in the sRGB values that the chart's maker states.
    "light skin patch": of_srgb("c29682"),
    "dark skin patch": of_srgb("735244"),
    # Monk and Google, the Monk Skin Tone scale, 2022; 1 to 5 are lighter than bare skin measures.
    "Monk 6": of_srgb("a07e56"),
    "Monk 7": of_srgb("825c43"),
    "Monk 8": of_srgb("604134"),
    # Yun et al., "Skin color analysis using a spectrophotometer in Asians", 2010: mean of 148 people.
    "Korean mean": (64.15, 8.96, 18.34),
    # Gozalo-Diaz et al., "A proposed shade guide for human facial skin", IADR 2009: noses and upper lips of 120
    # people, centres of three of their five clusters.
    "facial skin, middle": (52.5, 17.0, 18.9),
    "facial skin, dark": (37.7, 17.2, 14.7),
    "facial skin, darkest": (26.7, 14.6, 14.7),
}


@cache
def skin() -> tuple[Appearance, Tensor]:
    """The appearance of a sample of the face's skin, and where each coefficient of `TONE` lies."""
    model = load_open_head()
    bare = model.regions["cheeks"] | model.regions["forehead"] | model.regions["nose"]
    chosen = (bare & model.regions["skin"]).nonzero()[::20, 0]
    look = model.appearance
    by_vertex = ("melanin", "blood", "hair_cover", "hair", "is_skin", "specular", "roughness")
    cut = {name: getattr(look, name)[..., chosen] for name in by_vertex}
    places = torch.tensor([model.albedo_names.index(name) for name in TONE])
    return replace(look, **cut, other=look.other[:, chosen]), places


def colours(tones: Tensor) -> np.ndarray:
    """Mean CIELAB [N, 3] of the face's skin with the coefficients [N, 3] of `TONE`, all others being 0."""
    look, places = skin()
    albedo = torch.zeros(len(tones), look.melanin.shape[0] - 1)
    albedo[:, places] = tones.float()
    return np.asarray(rgb2lab(linear_to_srgb(look.reflectance(albedo).diffuse.mean(1).double().numpy())))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_skin_colours_are_likely_ones(name: str) -> None:
    target = np.array(PUBLISHED[name])

    def off(shifted: np.ndarray) -> np.ndarray:
        """CIELAB differences and standard deviations; the start is not 0, because steps are relative."""
        tone = shifted - 10
        return np.concatenate([colours(torch.from_numpy(tone)[None])[0] - target, 0.5 * tone])

    found = min(
        (least_squares(off, [10 + start, 10, 10], diff_step=2e-3, max_nfev=20) for start in (-1, 1)),
        key=lambda result: float(result.cost),
    )
    difference, deviations = found.fun[:3], 2 * found.fun[3:]
    assert np.linalg.norm(difference) < 4
    assert abs(deviations[0]) < 3 and np.linalg.norm(deviations) < 4


def test_people_are_as_likely_dark_as_light() -> None:
    tones = torch.randn(600, 3, generator=torch.Generator().manual_seed(0))
    lightness = colours(tones)[:, 0]
    for low, high in ((24, 38), (38, 52), (52, 75)):
        assert 0.2 < ((lightness >= low) & (lightness < high)).mean() < 0.5, (low, high)
    assert lightness.min() > 22 and lightness.max() < 75


def test_skin_loses_its_chroma_where_it_is_very_dark() -> None:
    melanin = torch.linspace(-2, 2.5, 19)
    lightness, red, yellow = colours(torch.stack([melanin, 0 * melanin, 0 * melanin], 1)).T
    chroma = np.hypot(red, yellow)
    assert (np.diff(lightness) < 0).all()
    most = chroma.argmax()
    assert 42 < lightness[most] < 58
    assert chroma[lightness < 30].max() < 0.75 * chroma[most]
    assert 0.5 * chroma[most] < chroma[0] < 0.8 * chroma[most]


def test_skin_is_brown_or_rosy_whatever_the_coefficients() -> None:
    look, _ = skin()
    generator = torch.Generator().manual_seed(1)
    size = look.melanin.shape[0] - 1
    likely = look.reflectance(torch.randn(400, size, generator=generator)).diffuse.mean(1)
    _, red, yellow = rgb2lab(linear_to_srgb(likely.double().numpy())).T
    hue = np.degrees(np.arctan2(yellow, red))
    assert np.hypot(red, yellow).min() > 6
    assert hue.min() > 25 and hue.max() < 80
    extreme = look.reflectance(5 * torch.randn(400, size, generator=generator).sign()).diffuse
    assert (extreme[..., 0] > extreme[..., 1:].amax(-1)).all()  # never blue, green or grey


@torch.no_grad()
def lit_by_a_key(state: Reconstruction, card: float) -> Reconstruction:
    """The head under a key light over even light, in which a white card that faces the camera shows `card`."""
    key = torch.nn.functional.normalize(torch.tensor([-0.6, 0.5, 0.6]).double(), dim=0)
    ways = fibonacci_directions(state.parameters.light.shape[1])
    power = 0.4 + 1.8 * (ways @ key).clamp(min=0) ** 3
    grey = power.log()[None, :, None].expand(1, -1, 3).float()
    lit = state.with_parameters(replace(state.parameters, light=grey))
    irradiance = scale_bands(lit.light_coefficients().double(), cosine_kernel(state.bands))[0]
    shown = float((sh_basis(torch.tensor([[0.0, 0, 1]]).double(), state.bands) @ irradiance).mean()) / math.pi
    return lit.with_parameters(replace(lit.parameters, light=grey + math.log(card / shown)))


def tone_of(state: Reconstruction, diffuse: Tensor) -> float:
    """The typology angle of the mean of vertex albedos [V, 3] over the bare skin of the face."""
    regions = state.model.regions
    bare = regions["skin"] & (regions["cheeks"] | regions["forehead"] | regions["nose"])
    return typology_angle(diffuse[bare].mean(0).double().numpy())


@pytest.mark.parametrize(
    ("name", "card"),
    [("light skin patch", 0.8 * WHITE_CARD), ("dark skin patch", WHITE_CARD), ("Monk 8", 0.8 * WHITE_CARD)],
)
def test_stage_2_tells_dark_skin_from_dim_light(name: str, card: float) -> None:
    """The heads' colours are not the model's: they are scaled so that their mean is a published one."""
    errors = [tone_error(name, card, person(load_open_head(), SIZE, seed, turned=(0, 10))) for seed in PEOPLE]
    assert np.mean(np.abs(errors)) < 15


def tone_error(name: str, card: float, somebody: Reconstruction) -> float:
    """How far the typology angle is off that stage 2 finds, degrees; positive is too light."""
    truth = lit_by_a_key(somebody, card)
    model, scene, renderer = truth.model, truth.scene(), VertexRenderer()
    bare = model.regions["skin"] & model.regions["face"]
    look = truth.model_material()
    colour = torch.from_numpy(srgb_to_linear(lab2rgb(np.array(PUBLISHED[name])))).float()
    painted = replace(look, diffuse=look.diffuse * (colour / look.diffuse[0, bare].mean(0)))
    image = renderer.render(replace(scene, material=painted), 1, 0)[0]
    shows = interpolate(rasterize_scene(scene), model.triangles, bare[:, None].float())[..., 0] > 0.99
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    points = torch.zeros(478, 2)
    points[embedding.indices] = truth.camera().project(landmark_points(truth.vertices(), model, embedding))[0]
    photo = torch.from_numpy(linear_to_srgb(image[..., :3].clamp(0, 1).numpy()))
    focal, clipped = float(truth.parameters.focal.exp()), (photo >= 1).any(-1)
    shot = made_shot(photo, shows, points, focal, 0.03, clipped)
    start = truth.with_parameters(replace(truth.parameters, albedo=torch.zeros_like(truth.parameters.albedo)))
    weights = StatisticalWeights(*(DEFAULTS[f"weight{kind}"] for kind in WEIGHTS))
    settings = StatisticalSettings(weights, iterations=12, optimize_focal=False)
    lit = guess_lights(start, [shot.observation])
    found = fit_by_gauss_newton(lit, [on_model(shot, model)], renderer, settings, Watcher())
    true_tone = tone_of(truth, painted.diffuse[0])
    return tone_of(found, found.model_material().diffuse[0]) - true_tone


PEOPLE = (3, 4, 5)  # seeds of their shapes
WEIGHTS = ("Landmarks", "Identity", "Expression", "Albedo", "Light")
