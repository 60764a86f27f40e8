"""The terms that the stages minimise: unbiased by noise, and never rewarding a face that shrinks."""

import itertools
import math

import pytest
import torch
from made_shots import made_shot
from torch.nn.functional import avg_pool2d, interpolate, pad

from nextface.fitting.refinement.domains import TexelDomain, VertexDomain, doubled
from nextface.fitting.refinement.refine import BROAD_FACTORS, MapWeights, regulariser
from nextface.fitting.statistical.coverage import coverage_term
from nextface.fitting.terms.losses import WHITE_CARD, PhotoTerm, light_term, usually_exposed
from nextface.fitting.terms.sampling import render_seed
from nextface.models.mirrored_maps import FlippedMap
from nextface.photos.observation import Observation
from nextface.scene.reflectance import RANGES, from_latent, to_latent


def observation(value: float = 0.5, size: int = 32, **changes: object) -> Observation:
    fields: dict[str, object] = {
        "srgb": torch.full((size, size, 3), value),
        "mask": torch.ones(size, size, dtype=torch.bool),
        "clipped": torch.zeros(size, size, dtype=torch.bool),
    }
    return Observation(**(fields | changes))  # type: ignore[arg-type]


def render(radiance: torch.Tensor, alpha: float = 1.0) -> torch.Tensor:
    return torch.cat([radiance * alpha, torch.full_like(radiance[..., :1], alpha)], -1)


def test_independent_derivatives_make_the_gradient_unbiased():
    """A render brightness * (1 + noise): the derivative's noise must be independent of the image's."""
    seen = observation()
    target = seen.linear
    generator = torch.Generator().manual_seed(0)

    def noise() -> torch.Tensor:
        return 0.3 * torch.randn(target.shape, generator=generator)

    def gradient(independent: bool) -> float:
        in_image = noise()
        in_derivative = noise() if independent else in_image
        brightness = torch.tensor(1.02, requires_grad=True)
        image = target * (1 + in_image) * 1.02 + (brightness - 1.02) * target * (1 + in_derivative)
        PhotoTerm(seen, 0.12)(render(image)).backward()
        return float(brightness.grad)  # type: ignore[arg-type]

    exact = float(2 * (0.02 * (target * seen.slope).square()).mean())
    found = torch.tensor([gradient(independent=True) for _ in range(200)])
    assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / 200**0.5
    assert gradient(independent=False) > 3 * exact


def test_an_encoded_step_is_measured_on_the_encoded_scale():
    seen = observation(0.6)
    brighter = observation(0.61).linear
    loss = float(PhotoTerm(seen, 0.12)(render(brighter)))
    assert abs(loss**0.5 - 0.01) < 3e-4


def test_leaving_pixels_of_the_mask_empty_costs_more_than_any_colour():
    def settled(term: PhotoTerm, image: torch.Tensor) -> float:
        term(image)  # the first call only fills the memory of renders
        return float(term(image))

    for value in (0.02, 0.5, 0.95):
        seen = observation(value)
        empty = settled(PhotoTerm(seen, 0.12), render(seen.linear, alpha=0.0))
        for wrong in (0.0, 0.1, 1.0, 3.0):
            assert empty > 10 * settled(PhotoTerm(seen, 0.12), render(torch.full_like(seen.linear, wrong)))


def test_clipped_pixels_count_only_while_the_render_is_darker():
    seen = observation(1.0, clipped=torch.ones(32, 32, dtype=torch.bool))
    for factor, counts in ((0.8, True), (1.5, False)):
        term, image = PhotoTerm(seen, 0.12), render(seen.linear * factor)
        term(image)  # the first call only fills the memory
        assert (float(term(image)) > 0) is counts


def test_a_face_that_falls_short_of_the_mask_is_pulled_over_it():
    seen = observation()
    shot = made_shot(seen.srgb, seen.mask, torch.tensor([[0.0, 0.0], [100.0, 100.0], [50.0, 50.0]]))
    alpha = torch.ones(32, 32)
    alpha[:, 20:] = 0
    outline = torch.stack([torch.full((32,), 20.0), torch.arange(32) + 0.5], 1).requires_grad_()
    loss = coverage_term(outline, alpha, shot)
    loss.backward()
    assert float(loss) > 0 and float(outline.grad[:, 0].max()) < 0  # type: ignore[index]  # descent moves right
    wider = outline.detach() + torch.tensor([4.0, 0.0])
    less = alpha.clone()
    less[:, 20:24] = 1
    assert float(coverage_term(wider, less, shot)) < float(loss)
    assert float(coverage_term(outline, torch.ones(32, 32), shot)) == 0


def test_even_grey_light_as_cameras_expose_for_it_is_free_and_colour_costs_most():
    grey = torch.full((1, 256, 3), math.log(4 * math.pi / 256 * WHITE_CARD))
    assert float(light_term(grey)) < 1e-3
    tinted, uneven = grey.clone(), grey.clone()
    tinted[..., 0] += 0.3
    uneven[:, ::2] += 0.3
    assert float(light_term(tinted)) > 3 * float(light_term(uneven)) > 0


def test_usual_exposure_costs_nothing_and_changes_nothing_but_the_power():
    light = torch.randn(2, 256, 3, generator=torch.Generator().manual_seed(4))
    exposed = usually_exposed(light)
    factor = exposed - light
    assert torch.allclose(factor, factor[:, :1, :1].expand_as(factor), atol=1e-5)
    for alone in exposed:
        step = torch.tensor([-0.1, 0.0, 0.1])
        costs = [float(light_term((alone + by)[None])) for by in step]
        assert costs[1] < min(costs[0], costs[2])
        assert abs(costs[0] - costs[2]) < 1e-3  # the least is at the middle


def test_regularisers_do_not_depend_on_the_resolution():
    costs = []
    for size in (256, 512):
        domain = TexelDomain(torch.ones(size, size, dtype=torch.bool), FlippedMap())
        axis = (torch.arange(size) + 0.5) / size
        wave = torch.sin(6 * axis)[None, None, :, None] * torch.cos(4 * axis)[None, :, None, None]
        costs.append(
            [float(regulariser(wave, domain, MapWeights(*w))) for w in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
        )
    torch.testing.assert_close(torch.tensor(costs[0]), torch.tensor(costs[1]), rtol=0.02, atol=0)


def test_what_is_held_less_costs_less():
    """Energy and variation count each texel as it is held, and are no larger for what is beside it."""
    covered = torch.ones(64, 64, dtype=torch.bool)
    values = torch.zeros(1, 64, 64, 1)
    values[:, 20:30, 20:30] = 1.0
    held = torch.ones(64, 64)
    held[15:35, 15:35] = 0.1
    loose, tight = TexelDomain(covered, None, held), TexelDomain(covered, None)
    for measure in ("energy", "variation"):
        cost = float(getattr(loose, measure)(values)) / float(getattr(tight, measure)(values))
        assert 0.01 < cost < 0.12, measure
    assert torch.equal(loose.coarser().covered, tight.coarser().covered)


def test_a_pyramid_reaches_every_texel_and_mirrors_exactly():
    domain = TexelDomain(torch.ones(64, 64, dtype=torch.bool), FlippedMap())
    levels = domain.parameters(torch.zeros(1, 64, 64, 3))
    assert [level.shape[-1] for level in levels] == [8, 16, 32, 64]
    levels[-1][0, 1, 5, 7] = 2.0
    correction = domain.correction(levels)
    assert correction.shape == (1, 64, 64, 3) and float(correction[0, 5, 7, 1]) == 2.0
    mirrored = domain.mirrored(correction)
    assert mirrored is not None and float(mirrored[0, 5, 56, 1]) == 2.0


def test_a_pyramid_starts_from_a_correction_of_any_size():
    domain = TexelDomain(torch.ones(72, 72, dtype=torch.bool), FlippedMap())
    random = torch.rand(1, 72, 72, 3, generator=torch.Generator().manual_seed(3))
    assert [level.shape[-1] for level in domain.parameters(random)] == [9, 18, 36, 72]
    assert torch.equal(domain.correction(domain.parameters(random)), random)
    axis = (torch.arange(200) + 0.5) / 200
    wave = torch.sin(6 * axis)[None, :, None, None] * torch.cos(4 * axis)[None, None, :, None]
    for kind in (domain, domain.coarser()):
        adopted = kind.correction(kind.parameters(wave))
        size = adopted.shape[1]
        places = (torch.arange(size) + 0.5) / size
        expected = torch.sin(6 * places)[:, None] * torch.cos(4 * places)
        assert (adopted[0, ..., 0] - expected).abs().max() < 0.03


def test_maps_are_doubled_by_bilinear_weights_averaged_over_neighbours():
    values = torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(4))
    bilinear = interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
    expected = avg_pool2d(pad(bilinear, (1, 1, 1, 1), mode="replicate"), 3, 1)
    torch.testing.assert_close(doubled(values), expected)


def test_vertex_domain_tells_broad_from_fine():
    plane = torch.cartesian_prod(torch.arange(40.0), torch.arange(40.0))
    vertices = torch.cat([plane, torch.zeros(len(plane), 1)], 1)
    quads = torch.tensor([[i * 40 + j, i * 40 + j + 1, (i + 1) * 40 + j] for i in range(39) for j in range(39)])
    domain = VertexDomain(vertices, quads, None)
    checks = ((plane.sum(1) % 2) * 2 - 1)[None, :, None]
    even = torch.ones_like(checks)
    assert float(domain.energy(domain.broad(checks, 32))) < 0.01 * float(domain.energy(checks))
    assert float(domain.energy(domain.broad(even, 32))) == 1.0
    assert (
        float(domain.variation(even)) == 0 < float(domain.variation(checks)) and domain.mirrored(even) is None
    )


def test_smoothness_removes_noise_and_keeps_edges():
    """Small differences cost their square; ten times a large one costs hardly more than ten times as much."""
    domain = TexelDomain(torch.ones(256, 256, dtype=torch.bool), FlippedMap())
    step = (torch.arange(256) > 100).float().expand(256, 256)[None, ..., None].expand(-1, -1, -1, 3)
    cost = {height: float(domain.variation(height * step)) for height in (0.001, 0.002, 1.0, 10.0)}
    assert cost[0.001] == pytest.approx(0.001**2 / 255, rel=1e-2)  # one of 255 differences in a row
    assert cost[0.002] == pytest.approx(4 * cost[0.001], rel=1e-2)
    assert 9 < cost[10.0] / cost[1.0] < 11


def test_a_change_of_every_channel_costs_alike():
    domain = TexelDomain(torch.ones(64, 64, dtype=torch.bool), FlippedMap())
    weights = MapWeights(symmetry=0.0, consistency=1.0, smoothness=0.0)
    brightness = 0.1 * torch.ones(1, 64, 64, 3)
    hue = 0.1 * torch.tensor([1.0, 0.0, -1.0]).expand(1, 64, 64, 3) * (3 / 2) ** 0.5  # of the same energy
    ratio = regulariser(hue, domain, weights) / regulariser(brightness, domain, weights)
    assert float(ratio) == pytest.approx(1, rel=1e-3)  # what a hue costs more is in what is measured
    one = brightness[..., :1]
    even = 0.01 * (1 + sum(BROAD_FACTORS.values()))
    assert float(regulariser(one, domain, weights)) == pytest.approx(even, rel=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_broader_a_correction_the_more_it_costs(symmetric: bool) -> None:
    """Waves of one energy, from as broad as a face to a texel, under consistency and under symmetry."""
    domain = TexelDomain(torch.ones(256, 256, dtype=torch.bool), FlippedMap() if symmetric else None)
    weights = MapWeights(symmetry=float(symmetric), consistency=float(not symmetric), smoothness=0.0)
    place = (torch.arange(256) + 0.5) / 256 - 0.5
    costs = []
    for waves in (2, 16, 48, 112):
        wave = torch.sin(2 * torch.pi * waves * place)  # odd, so that symmetry is against all of it
        values = wave.expand(256, 256)[None, ..., None]
        costs.append(float(regulariser(values, domain, weights) / domain.energy(values)))
    first = 4 if symmetric else 1  # a wave is half of its difference from its mirror image
    assert costs[0] == pytest.approx(first * (1 + sum(BROAD_FACTORS.values())), rel=0.05)
    assert all(broader > 1.2 * finer for broader, finer in itertools.pairwise(costs))
    assert costs[-1] == pytest.approx(first, rel=0.1)


def test_energy_does_not_depend_on_what_lies_outside_the_chart() -> None:
    covered = torch.zeros(128, 128, dtype=torch.bool)
    covered[32:96, 32:96] = True
    domain = TexelDomain(covered, None)
    values = torch.where(covered, 0.3, 7.0)[None, ..., None]
    for size in BROAD_FACTORS:
        broad = domain.broad(values, size)
        assert float(domain.energy(broad)) == pytest.approx(0.09, rel=1e-5)


def test_latent_reflectance_round_trips_and_stays_in_range():
    for name, (low, high) in RANGES.items():
        values = torch.linspace(low + 0.01 * (high - low), high - 0.01 * (high - low), 50)
        torch.testing.assert_close(from_latent(to_latent(values, name), name), values, atol=1e-6, rtol=1e-5)
        extreme = from_latent(torch.tensor([-1e4, 1e4]), name)
        assert low <= float(extreme[0]) and float(extreme[1]) <= high


def test_no_two_renders_of_a_run_share_a_seed():
    seeds = {render_seed(0, i, p) for i in range(600) for p in range(3)}
    assert len(seeds) == 1800 and all(0 <= seed < 2**31 for seed in seeds)
    assert render_seed(1, 0, 0) != render_seed(0, 0, 0)
