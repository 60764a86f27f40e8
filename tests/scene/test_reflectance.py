"""The ray tracer's BSDF against independent formulas, integrals and statistics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

ROUGHNESSES = (0.1, 0.25, 0.5, 1.0)
SAMPLES = 1 << 18


@pytest.fixture(scope="module")
def mi():
    from renderers.mitsuba.renderer import MitsubaRenderer

    renderer = MitsubaRenderer(device="cpu")
    import mitsuba

    from renderers.mitsuba import skin_bsdf

    mitsuba.set_variant(renderer.variant)
    skin_bsdf.register(renderer.variant)
    return mitsuba


def bsdf_of(mi, diffuse: float, specular: float, roughness: float):
    def uniform(*values: float) -> dict:
        return {
            "type": "bitmap",
            "data": mi.TensorXf(np.full((2, 2, len(values)), values, np.float32)),
            "raw": True,
        }

    return mi.load_dict(
        {
            "type": "nextface_skin",
            "diffuse": uniform(diffuse, diffuse, diffuse),
            "specular": uniform(specular),
            "roughness": uniform(roughness),
        }
    )


def interaction(mi, wi: np.ndarray):
    """Points on a flat surface, seen from local directions [n, 3] (or one [3])."""
    import drjit as dr

    directions = np.atleast_2d(wi).astype(np.float32)
    si = dr.zeros(mi.SurfaceInteraction3f, len(directions))
    si.uv = mi.Point2f(0.5, 0.5)
    si.n = mi.Normal3f(0, 0, 1)
    si.sh_frame = mi.Frame3f(mi.Vector3f(1, 0, 0), mi.Vector3f(0, 1, 0), mi.Normal3f(0, 0, 1))
    si.wi = mi.Vector3f(directions.T)
    return si


def evaluate(mi, bsdf, wi: np.ndarray, wo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f cos_o (first channel) and density of pairs of directions."""
    value, pdf = bsdf.eval_pdf(mi.BSDFContext(), interaction(mi, wi), mi.Vector3f(wo.astype(np.float32).T))
    return np.array(value.x), np.array(pdf)


def drawn(mi, bsdf, wi: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """SAMPLES directions [n, 3] drawn for one `wi`, and their weights f cos / density."""
    numbers = np.random.default_rng(seed).random((3, SAMPLES), np.float32)
    si = interaction(mi, np.tile(wi, (SAMPLES, 1)))
    record, weight = bsdf.sample(mi.BSDFContext(), si, mi.Float(numbers[0]), mi.Point2f(numbers[1:]))
    return np.array(record.wo).T, np.array(weight.x)


def direction(cosine: float, azimuth: float = 0.3) -> np.ndarray:
    sine = np.sqrt(1 - cosine**2)
    return np.array([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine])


def random_directions(count: int, seed: int) -> np.ndarray:
    """Uniform in the upper hemisphere, at least 0.05 above the horizon."""
    rng = np.random.default_rng(seed)
    cosine, azimuth = rng.uniform(0.05, 1, count), rng.uniform(0, 2 * np.pi, count)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], -1)


def smith_lambda(w: np.ndarray, alpha: float) -> np.ndarray:
    tangent_squared = (1 - w[..., 2] ** 2) / w[..., 2] ** 2
    return (np.sqrt(1 + alpha**2 * tangent_squared) - 1) / 2


def ggx(wi: np.ndarray, wo: np.ndarray, f0: float, alpha: float) -> np.ndarray:
    """F D G2 / (4 cos_i cos_o), written as in the papers."""
    half = wi + wo
    half = half / np.linalg.norm(half, axis=-1, keepdims=True)
    tangent_squared = (1 - half[..., 2] ** 2) / half[..., 2] ** 2
    d = 1 / (np.pi * alpha**2 * half[..., 2] ** 4 * (1 + tangent_squared / alpha**2) ** 2)
    g = 1 / (1 + smith_lambda(wi, alpha) + smith_lambda(wo, alpha))
    f = f0 + (1 - f0) * (1 - (wi * half).sum(-1)) ** 5
    return f * d * g / (4 * wi[..., 2] * wo[..., 2])


def albedo_of_lobe(wi: np.ndarray, alpha: float, steps: int = 1500) -> float:
    """Directional albedo of the GGX lobe with F = 1, by a sum over microfacet normals.

    With tan^2 = alpha^2 t / (1 - t), D cos dw is dt dphi / (2 pi), so narrow lobes need no finer grid.
    """
    t = (np.arange(steps) + 0.5) / steps
    phi = 2 * np.pi * (np.arange(steps) + 0.5) / steps
    tangent = alpha * np.sqrt(t / (1 - t))
    cosine = 1 / np.sqrt(1 + tangent**2)
    sine = tangent * cosine
    half = np.stack(
        [
            sine[:, None] * np.cos(phi),
            sine[:, None] * np.sin(phi),
            np.broadcast_to(cosine[:, None], (steps, steps)),
        ],
        -1,
    )
    dot = half @ wi
    wo = 2 * dot[..., None] * half - wi
    seen = (dot > 0) & (wo[..., 2] > 1e-9)
    wo[~seen] = [0, 0, 1]
    g = 1 / (1 + smith_lambda(wi, alpha) + smith_lambda(wo, alpha))
    return float(np.where(seen, g * dot / (wi[2] * half[..., 2]), 0).mean())


@pytest.mark.parametrize("roughness", ROUGHNESSES)
def test_values_are_the_formula_of_the_conventions(mi, roughness):
    wi, wo = random_directions(4096, 1), random_directions(4096, 2)
    value, _ = evaluate(mi, bsdf_of(mi, 0.6, 0.04, roughness), wi, wo)
    expected = (0.6 / np.pi + ggx(wi, wo, 0.04, roughness**2)) * wo[:, 2]
    np.testing.assert_allclose(value, expected, rtol=2e-3 if roughness == 0.1 else 2e-4, atol=1e-6)


@pytest.mark.parametrize("cosine", [0.1, 0.5, 0.95])
def test_white_furnace_of_the_diffuse_lobe(mi, cosine):
    """The lobes add, so the diffuse lobe is what the albedo adds to a surface without it."""
    wo = random_directions(SAMPLES, 3)
    wi = np.tile(direction(cosine), (SAMPLES, 1))
    with_albedo, _ = evaluate(mi, bsdf_of(mi, 0.7, 0.04, 0.5), wi, wo)
    without, _ = evaluate(mi, bsdf_of(mi, 0.0, 0.04, 0.5), wi, wo)
    below = 0.7 * 0.05**2  # the hemisphere below the lowest direction drawn
    assert (with_albedo - without).mean() * 2 * np.pi * 0.95 + below == pytest.approx(0.7, rel=5e-3)


@pytest.mark.parametrize("roughness", ROUGHNESSES)
@pytest.mark.parametrize("cosine", [0.15, 0.5, 0.9, 1.0])
def test_white_furnace_of_the_ggx_lobe(mi, roughness, cosine):
    """Drawn and weighed by the BSDF itself, F = 1 gives the lobe's albedo, which is at most 1."""
    wi = direction(cosine)
    _, weight = drawn(mi, bsdf_of(mi, 0.0, 1.0, roughness), wi)
    expected = albedo_of_lobe(wi, roughness**2)
    assert expected <= 1
    assert weight.mean() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("roughness", ROUGHNESSES)
def test_reciprocity(mi, roughness):
    wi, wo = random_directions(4096, 4), random_directions(4096, 5)
    bsdf = bsdf_of(mi, 0.4, 0.05, roughness)
    forth, back = evaluate(mi, bsdf, wi, wo)[0] / wo[:, 2], evaluate(mi, bsdf, wo, wi)[0] / wi[:, 2]
    np.testing.assert_allclose(forth, back, rtol=1e-3)


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("cosine", [0.2, 0.9])
def test_directions_are_drawn_with_the_stated_density(mi, roughness, cosine):
    """A chi-square test over the hemisphere; what is left of 1 are reflections that point below the surface."""
    wi, bsdf = direction(cosine), bsdf_of(mi, 0.4, 0.04, roughness)
    wo, _ = drawn(mi, bsdf, wi)
    rows, columns, fine = 12, 24, 24
    azimuth = np.arctan2(wo[:, 1], wo[:, 0]) % (2 * np.pi)
    observed, _, _ = np.histogram2d(
        np.where(wo[:, 2] > 0, wo[:, 2], -1),
        azimuth,
        [np.linspace(0, 1, rows + 1), np.linspace(0, 2 * np.pi, columns + 1)],
    )
    z = (np.arange(rows * fine) + 0.5) / (rows * fine)
    phi = 2 * np.pi * (np.arange(columns * fine) + 0.5) / (columns * fine)
    grid_z, grid_phi = (axis.ravel() for axis in np.meshgrid(z, phi, indexing="ij"))
    sine = np.sqrt(1 - grid_z**2)
    grid = np.stack([sine * np.cos(grid_phi), sine * np.sin(grid_phi), grid_z], -1)
    _, pdf = evaluate(mi, bsdf, np.tile(wi, (len(grid), 1)), grid)
    cells = pdf.reshape(rows, fine, columns, fine).mean((1, 3)) * 2 * np.pi / (rows * columns)
    assert cells.sum() <= 1.002
    assert observed.sum() / SAMPLES == pytest.approx(cells.sum(), abs=3e-3)
    expected = cells * SAMPLES
    often = expected > 50
    statistic = ((observed - expected)[often] ** 2 / expected[often]).sum()
    # the grid integrates a peak to a few tenths of a percent, which a quarter of a million draws can tell
    assert statistic < 1.5 * stats.chi2.ppf(0.999, often.sum())


def test_the_back_is_black(mi):
    bsdf = bsdf_of(mi, 0.5, 0.04, 0.5)
    up, down = direction(0.7), direction(0.7) * [1, 1, -1]
    for wi, wo in ((down, up), (up, down), (down, down)):
        assert evaluate(mi, bsdf, wi, wo[None])[0][0] == 0
