"""Stage 3: how fine its maps are, and for how long it goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_shots import made_shot
from rendered_photo import person
from scipy import ndimage
from torch import Tensor

from nextface.config import Config
from nextface.fitting.refinement.domains import TexelDomain
from nextface.fitting.refinement.refine import (
    COOLING,
    LAST_RATE,
    SETTLING,
    WARM_UP,
    MapWeights,
    RefinementSettings,
    _Rates,
    refine,
)
from nextface.fitting.refinement.space import (
    TEXELS_PER_PIXEL,
    _doubling_size,
    _pixels_per_map,
    complete,
    refinement_space,
)
from nextface.fitting.refinement.visibility import (
    FADE,
    RIM,
    UNLIKE,
    faded,
    for_maps,
    grown,
    vertex_visibility,
    visibility_with_rim,
)
from nextface.fitting.terms.watcher import Watcher
from nextface.fitting.transfer.renderer import TransferRenderer
from nextface.models import create as create_model
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import bake_vertices
from nextface.scene.colour import linear_to_srgb
from nextface.scene.raster import rasterize_scene
from nextface.scene.reflectance import RANGES, from_latent, to_latent
from renderers.vertex.renderer import VertexRenderer


def poster(side: float, distance: float, focal: float) -> Scene:
    """A square of `side` mm that faces the camera and fills its map, and a smaller one turned away."""
    front = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * side / 2
    back = front.flip(0) * 0.3
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = Mesh.from_vertices(torch.cat([front, back])[None], triangles, torch.cat([uvs, uvs]), triangles)
    values = torch.ones(1, 8, 1)
    camera = Camera(
        torch.tensor([[[focal, 0, 50], [0, focal, 50], [0, 0, 1]]]),
        torch.tensor([[math.pi, 0, 0]]),
        torch.tensor([[0.0, 0, distance]]),
        100,
        100,
    )
    material = Material(values.expand(-1, -1, 3), values, values)
    return Scene(mesh, material, Environment(torch.ones(1, 16, 32, 3)), camera)


def test_a_maps_side_is_as_many_pixels_as_it_looks() -> None:
    assert _pixels_per_map(poster(200.0, 800.0, 400.0)) == pytest.approx(100, rel=1e-4)
    assert _pixels_per_map(poster(200.0, 400.0, 400.0)) == pytest.approx(200, rel=1e-4)


def test_sizes_can_be_halved_down_to_the_coarsest_level() -> None:
    for texels in (8.0, 15.5, 16.0, 100.0, 129.0, 300.0, 1000.0):
        size = _doubling_size(texels)
        assert texels <= size < texels * 1.125 + 1
        while size >= 16:
            assert size % 2 == 0
            size //= 2
        assert size >= 8


def test_texels_are_as_fine_as_the_photo_and_no_finer_than_asked_for() -> None:
    model = create_model("open")
    sizes = {}
    for pixels in (96, 192):
        state = person(model, pixels)
        space = refinement_space(state, 2048, False)
        base, domain = space.base, space.domain
        assert isinstance(domain, TexelDomain)
        sizes[pixels] = domain.covered.shape[0]
        assert base.diffuse.shape == (1, sizes[pixels], sizes[pixels], 3)
        assert sizes[pixels] == _doubling_size(TEXELS_PER_PIXEL * _pixels_per_map(state.scene()))
    assert 96 < sizes[192] < 2048
    assert sizes[192] == pytest.approx(2 * sizes[96], rel=0.15)
    assert refinement_space(person(model, 192), 64, False).base.diffuse.shape[1] == 64


def course(losses: list[float], iterations: int, noisy: bool) -> list[float]:
    """The rates' factors until they are done."""
    rates, factors = _Rates(iterations, noisy), []
    for loss in losses:
        factors.append(rates.factor())
        rates.add(loss)
        if rates.done:
            break
    return factors


def test_a_loss_that_stalls_ends_the_stage_after_cooling() -> None:
    falling = [0.9**i for i in range(40)]
    factors = course(falling + [falling[-1]] * 100, 200, noisy=False)
    assert 40 + COOLING < len(factors) <= 40 + SETTLING + COOLING
    assert factors[:WARM_UP] == pytest.approx([(i + 1) / WARM_UP for i in range(WARM_UP)])
    assert set(factors[WARM_UP:40]) == {1.0}
    assert factors[-1] == pytest.approx(LAST_RATE + (1 - LAST_RATE) / COOLING)
    assert factors[40:] == sorted(factors[40:], reverse=True)


def test_a_loss_that_goes_on_falling_takes_all_iterations_and_cools_before_the_end() -> None:
    factors = course([0.9**i for i in range(100)], 60, noisy=False)
    assert len(factors) == 60
    assert factors[59 - COOLING] == 1.0 > factors[61 - COOLING]
    assert factors[-1] == pytest.approx(LAST_RATE + (1 - LAST_RATE) / COOLING)


def test_noise_is_averaged_over_all_iterations() -> None:
    factors = course([1.0] * 100, 60, noisy=True)
    assert len(factors) == 60
    assert factors[30] == pytest.approx(LAST_RATE + (1 - LAST_RATE) / 2)


TIGHT = MapWeights(symmetry=5.0, consistency=5.0, smoothness=5.0)
GLOSS = 1.0  # latent units of F0, up and down


def default_weights() -> dict[str, MapWeights]:
    config, terms = Config(), ("Symmetry", "Consistency", "Smoothness")
    return {
        kind: MapWeights(*(getattr(config, f"weight{kind.title()}{term}") for term in terms))
        for kind in ("diffuse", "specular", "roughness")
    }


def test_wrong_highlights_become_gloss_rather_than_diffuse_colour() -> None:
    """A dark face shines in spots that stage 2 does not know; shape, light and diffuse albedo it knows."""
    state = person(create_model("open"), 96)
    space = refinement_space(state, 512, on_vertices=False)
    base = replace(space.base, diffuse=0.15 * space.base.diffuse)
    scene, size = state.scene(), base.diffuse.shape[1]
    face = bake_vertices(state.model.regions["face"].float()[None, :, None], scene.mesh, size)
    wave = torch.sin(16 * math.pi * (torch.arange(size) + 0.5) / size)
    spots = (wave[:, None] * wave).sign()[None, ..., None] * face
    glossy = from_latent(to_latent(base.specular, "specular") + GLOSS * spots, "specular")
    renderer = TransferRenderer(VertexRenderer(), [scene], [torch.ones(96, 96) > 0], state.bands)
    with torch.no_grad():
        photo = renderer.render(replace(scene, material=replace(base, specular=glossy)), 1, 0)[0]
    srgb = torch.from_numpy(linear_to_srgb(photo[..., :3].clamp(0, 1).numpy())).float()
    mask = photo[..., 3] > 0.99
    shot = made_shot(srgb, mask, clipped=srgb.amax(-1) >= 1)
    visible = bake_vertices(vertex_visibility(scene, mask)[None], scene.mesh, size) * face > 0.9

    def corrections(weights: dict[str, MapWeights]) -> tuple[Tensor, Tensor]:
        """Those of the diffuse map, as brightness, and of F0: latent units at the texels compared."""
        settings = RefinementSettings(weights, iterations=50, samples=1, seed=0)
        found = refine(state, replace(space, base=base), [shot], renderer, settings, Watcher()).material
        assert found is not None
        diffuse = (to_latent(found.diffuse, "diffuse") - to_latent(base.diffuse, "diffuse")).mean(
            -1, keepdim=True
        )
        specular = to_latent(found.specular, "specular") - to_latent(base.specular, "specular")
        return diffuse[visible], specular[visible]

    truth = spots[visible]
    diffuse, specular = corrections(default_weights())
    assert torch.corrcoef(torch.stack([specular, truth]))[0, 1] > 0.7
    assert (specular * truth).mean() > 0.12 * GLOSS
    leaked, held = corrections({**default_weights(), "specular": TIGHT, "roughness": TIGHT})
    assert (held * truth).mean() < 0.05 * GLOSS
    assert (diffuse * truth).mean() < 0.85 * (leaked * truth).mean()


def test_the_rim_of_the_mask_is_believed_where_it_looks_like_what_is_around() -> None:
    soft, hard = torch.tensor([0.3]).view(1, 1, 1, 1), torch.tensor([0.9]).view(1, 1, 1, 1)
    around = torch.zeros(1, 1, 1, 3)

    def belief(difference: float) -> float:
        return float(visibility_with_rim(soft, hard, around + difference, around))

    assert belief(0.0) == belief(UNLIKE) == pytest.approx(0.9), "moles and pores are no strands of hair"
    assert belief(1.5 * UNLIKE) == belief(-1.5 * UNLIKE) == pytest.approx(0.6)
    assert belief(2 * UNLIKE) == belief(-1.0) == pytest.approx(0.3)


def test_a_strand_at_the_masks_border_is_not_painted_on_the_forehead() -> None:
    """A much darker strip along the mask's border, against a slightly darker one, in the completed map."""
    state = person(create_model("open"), 96)
    scene, size = state.scene(), 256
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[30:80, 30:66] = True
    base = Material(
        **{kind: bake_vertices(getattr(state.model_material(), kind), scene.mesh, size) for kind in RANGES}
    )
    border = bake_vertices(vertex_visibility(scene, grown(mask))[None], scene.mesh, size)
    inside = bake_vertices(vertex_visibility(scene, mask)[None], scene.mesh, size)
    strip = (border > 0.95) & (inside > 0.3) & (inside < 0.8)
    assert strip.sum() > 50

    def shown(darker: float) -> Tensor:
        """How much of a strip's correction the completed diffuse map has."""
        latent = to_latent(base.diffuse, "diffuse") - darker * strip
        refined = replace(base, diffuse=from_latent(latent, "diffuse"))
        done = complete(replace(state, material=refined), base, [mask], size).material
        assert done is not None
        change = to_latent(done.diffuse, "diffuse") - to_latent(base.diffuse, "diffuse")
        return (-change[strip.expand_as(change)] / darker).median()

    assert shown(0.1) > 0.85  # beside the border, what is seen goes over into what is not
    assert shown(1.0) < 0.7


def test_the_seen_fades_inside_its_border_and_around_no_hole() -> None:
    size = 128
    column = torch.arange(size)
    seen = (column < 64).float().expand(size, size)[None, ..., None]
    everywhere = torch.ones_like(seen)
    width = 2 * round(FADE * size / 2) + 1
    shown = faded(seen, everywhere)[0, 64, :, 0]
    assert (shown[: 64 - width] == 1).all() and (shown[64:] == 0).all()
    assert shown[63] < 0.4 and (shown[64 - width : 64].diff() <= 0).all()
    assert torch.equal(faded(seen, 0 * everywhere), seen)


def test_maps_are_refined_from_all_that_is_seen_of_the_head_less_its_rim() -> None:
    state = person(create_model("open"), 96)
    mask = torch.zeros(96, 96, dtype=torch.bool)
    mask[40:50, 40:50] = True
    shot = made_shot(torch.zeros(96, 96, 3), mask)
    (same,) = for_maps(state, [shot])
    assert torch.equal(same.observation.mask, mask), "where nothing more is known to be seen"
    visible = np.zeros((96, 96), dtype=bool)
    visible[:, :60] = True
    (found,) = for_maps(state, [replace(shot, visible=visible)])
    head = rasterize_scene(state.scene()).triangle >= 0
    inner = ndimage.binary_erosion(head.numpy(), np.ones((2 * RIM + 1, 2 * RIM + 1)), border_value=1)
    assert np.array_equal(found.observation.mask.numpy(), (inner & visible) | mask.numpy())


def test_the_colour_of_eyes_is_found() -> None:
    """Blue irises in place of the statistical ones; shape, light and skin are known."""
    size, state = 128, person(create_model("open"), 128, turned=(0, 0))
    space, scene = refinement_space(state, 512, on_vertices=False), state.scene()
    iris = bake_vertices(
        state.model.regions["iris"].float()[None, :, None], scene.mesh, space.base.diffuse.shape[1]
    )
    blue = torch.lerp(space.base.diffuse, torch.tensor([0.05, 0.15, 0.35]), iris)
    mask = torch.ones(size, size, dtype=torch.bool)
    renderer = TransferRenderer(VertexRenderer(), [scene], [mask], state.bands)
    with torch.no_grad():
        photo = renderer.render(replace(scene, material=replace(space.base, diffuse=blue)), 1, 0)[0]
    srgb = torch.from_numpy(linear_to_srgb(photo[..., :3].clamp(0, 1).numpy())).float()
    visible = np.ones((size, size), dtype=bool)
    (shot,) = for_maps(state, [replace(made_shot(srgb, photo[..., 3] > 0.99), visible=visible)])
    settings = RefinementSettings(default_weights(), iterations=50, samples=1, seed=0)
    found = refine(state, space, [shot], renderer, settings, Watcher()).material
    assert found is not None
    number = rasterize_scene(scene).triangle
    shown = (number >= 0) & state.model.regions["iris"][scene.mesh.triangles].all(-1)[number.clamp(min=0)]
    assert shown.sum() > 20
    with torch.no_grad():
        pictures = [
            renderer.render(replace(scene, material=material), 1, 0)[0, ..., :3]
            for material in (space.base, found)
        ]
    before, after = (float((one - photo[..., :3])[shown].square().mean().sqrt()) for one in pictures)
    assert after < 0.5 * before, (before, after)
