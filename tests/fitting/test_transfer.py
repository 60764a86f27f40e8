"""Light transfer against ray-traced images, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trimesh
from lit_head import BANDS, SIZE, distance, facing, lit_head, of_all_pixels, skin
from rendered_photo import fitting_config, person, photograph
from torch import Tensor

from nextface import reconstruct
from nextface.fitting.transfer import renderer as transfer_renderer
from nextface.fitting.transfer.interreflection import Interreflection
from nextface.fitting.transfer.light_transfer import roughness_levels, roughness_weights
from nextface.fitting.transfer.renderer import TransferRenderer, with_transfer
from nextface.models import create as create_model
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import sample_map
from nextface.scene.pixel_points import PixelPoints
from nextface.scene.prefiltered import directional_albedo
from renderers.mitsuba.renderer import MitsubaRenderer
from renderers.ray_casting import first_hits, first_hits_of
from renderers.specular_lobe import GGX
from renderers.vertex.renderer import VertexRenderer

SAMPLES = 512


@pytest.fixture(scope="module")
def renderer() -> Iterator[MitsubaRenderer]:
    renderer = MitsubaRenderer("cpu")
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def head() -> Scene:
    return lit_head()


@pytest.fixture(scope="module")
def transfer(renderer: MitsubaRenderer, head: Scene) -> TransferRenderer:
    return of_all_pixels(renderer, head)


@pytest.mark.parametrize(
    ("diffuse", "specular", "roughness", "bound"),
    [(0.5, 0.03, 0.5, 0.007), (0.1, 0.03, 0.5, 0.01), (0.4, 0.05, 0.8, 0.007), (0.4, 0.03, 0.35, 0.01)],
)
def test_radiance_is_the_ray_tracers(
    transfer: TransferRenderer,
    renderer: MitsubaRenderer,
    head: Scene,
    diffuse: float,
    specular: float,
    roughness: float,
    bound: float,
) -> None:
    scene = skin(head, diffuse, specular, roughness)
    assert distance(transfer.render(scene, 1, 1)[0], scene, renderer, SAMPLES) < bound


def test_radiance_of_maps_is_the_ray_tracers(
    transfer: TransferRenderer, renderer: MitsubaRenderer, head: Scene
) -> None:
    assert distance(transfer.render(head, 1, 1)[0], head, renderer, SAMPLES) < 0.01


@pytest.mark.parametrize(("roughness", "bound"), [(0.3, 0.08), (0.5, 0.025), (0.8, 0.012)])
def test_the_specular_lobe_alone(
    transfer: TransferRenderer, renderer: MitsubaRenderer, head: Scene, roughness: float, bound: float
) -> None:
    scene = skin(head, 0.0, 0.03, roughness)
    assert distance(transfer.render(scene, 1, 1)[0], scene, renderer, SAMPLES) < bound


def test_shadows_are_what_makes_it_agree(renderer: MitsubaRenderer, head: Scene) -> None:
    """Without them the same comparison fails by far."""

    class Shadowless(MitsubaRenderer):
        def occlusion(self, scene: Scene) -> Callable[[Tensor, Tensor], Tensor]:
            return lambda origins, directions: torch.ones(len(origins), dtype=torch.bool)

    flat = of_all_pixels(Shadowless("cpu"), head)
    scene = skin(head, 0.5, 0.03, 0.5)
    assert distance(flat.render(scene, 1, 1)[0], scene, renderer, SAMPLES) > 0.04


@pytest.mark.parametrize(("diffuse", "direct"), [(0.5, 0.03), (0.2, 0.018)])
def test_light_that_bounces_is_the_ray_tracers(
    transfer: TransferRenderer, head: Scene, diffuse: float, direct: float
) -> None:
    bouncing = MitsubaRenderer("cpu", max_bounces=3)
    scene = skin(head, diffuse, 0.03, 0.5)
    assert distance(of_all_pixels(bouncing, head).render(scene, 1, 1)[0], scene, bouncing, 256) < 0.014
    assert distance(transfer.render(scene, 1, 1)[0], scene, bouncing, 256) > direct
    bouncing.close()


def test_rays_of_mitsuba_meet_what_embrees_do(renderer: MitsubaRenderer, head: Scene) -> None:
    vertices, normals = head.camera.transform(head.mesh.vertices)[0], head.camera.rotate(head.mesh.normals)[0]
    towards = torch.nn.functional.normalize(normals + 0.9 * normals.roll(1, 0), dim=-1)
    origins = vertices + 0.1 * normals
    found, expected = (hits(origins, towards) for hits in (first_hits_of(renderer, head), first_hits(head)))
    assert found.dtype == expected.dtype and (expected >= 0).sum() > 500 and (expected == -1).sum() > 500
    assert (found == expected).float().mean() > 0.995, "an edge belongs to either side"


@pytest.mark.parametrize(("bounces", "expected"), [(1, 0.4 / 4), (2, 0.4 / 4 + 0.4**2 / 8)])
def test_light_in_a_bowl(bounces: int, expected: float) -> None:
    """Each point of a hollow half ball sees the ball's other half and the sky alike."""
    solid = trimesh.creation.icosphere(subdivisions=4, radius=100.0)
    deep = solid.faces[(solid.vertices[solid.faces][:, :, 2] < 1).all(1)][:, ::-1].copy()
    vertices = torch.tensor(solid.vertices).float()
    placed = replace(ball().camera, rotation=torch.zeros(1, 3), translation=torch.tensor([[0.0, 0, 500]]))
    mesh = Mesh(vertices[None], -vertices[None] / 100, torch.from_numpy(deep).long())
    even = torch.zeros(BANDS**2, 3)
    even[0] = math.sqrt(4 * math.pi)
    grey = torch.full((len(vertices), 3), 0.4)
    scene = replace(ball(), mesh=mesh, camera=placed)
    lit = Interreflection(scene, BANDS, bounces, GGX(), first_hits(scene)).light(even, grey)
    bottom = vertices[:, 2] < -20
    assert torch.allclose(lit[bottom].mean(0), torch.full((3,), expected), rtol=0.03)


def test_edges_are_the_ray_tracers(transfer: TransferRenderer, renderer: MitsubaRenderer, head: Scene) -> None:
    with torch.no_grad():
        traced = renderer.render(head, SAMPLES, 3)[0]
    drawn = transfer.render(head, 1, 1)[0]
    expected, found = traced[..., 3], drawn[..., 3]
    assert (found - expected).abs().max() < 0.15
    edge = (expected > 0) & (expected < 1)
    assert edge.sum() > 50
    assert (found - expected)[edge].square().mean().sqrt() < 0.05
    assert (found - expected)[edge].mean().abs() < 0.01
    assert (drawn - traced)[edge].norm() < 0.1 * traced[edge].norm()


def ball() -> Scene:
    """A ball under even light of radiance 1, in double precision."""
    solid = trimesh.creation.icosphere(subdivisions=5, radius=100.0)
    vertices = torch.tensor(solid.vertices)[None]
    mesh = Mesh(vertices, vertices / 100, torch.tensor(solid.faces).long())
    camera = Camera(
        torch.tensor([[[80.0, 0, 16], [0, 80, 16], [0, 0, 1]]]).double(),
        torch.tensor([[torch.pi, 0, 0]]).double(),
        torch.tensor([[0.0, 0, 600]]).double(),
        32,
        32,
    )
    values = torch.ones(1, vertices.shape[1], 1).double()
    material = Material(values.expand(-1, -1, 3) * 0.0, values * 0.04, values)
    return Scene(mesh, material, Environment(torch.ones(1, 16, 32, 3).double()), camera)


@pytest.mark.parametrize("level", range(5))
def test_a_ball_under_even_light_reflects_its_albedo(renderer: MitsubaRenderer, level: int) -> None:
    scene = ball()
    roughness = float(roughness_levels()[level])
    material = replace(scene.material, roughness=torch.full_like(scene.material.specular, roughness))
    scene = replace(scene, material=replace(material, diffuse=material.diffuse + 0.3))
    image = of_all_pixels(renderer, scene).render(scene, 1, 1)[0]
    cosine = facing(scene)
    chosen = cosine > 0.5
    plain, grazing = directional_albedo(roughness, cosine[chosen])
    expected = 0.3 + 0.04 * plain + grazing
    assert (image[chosen][:, 0] / expected - 1).abs().max() < 0.01


def test_roughness_weights_interpolate_polynomials() -> None:
    roughness = torch.linspace(0.3, 1, 20, dtype=torch.float64)[:, None]
    for power in range(5):
        values = roughness_levels().log() ** power
        assert torch.allclose(
            (roughness_weights(roughness) * values).sum(1, keepdim=True), roughness.log() ** power
        )
    low = roughness_weights(torch.tensor([[0.1], [0.3]]))
    assert torch.equal(low[0], low[1])


def test_pixels_show_the_mean_of_their_points_texels(head: Scene) -> None:
    """The sparse average is that of bilinear lookups at all points of a pixel."""
    points = PixelPoints.of(head, torch.ones(SIZE, SIZE, dtype=torch.bool))
    random = torch.rand(1, 40, 56, 3, generator=torch.Generator().manual_seed(1))
    other = torch.zeros(1, 40, 56, 1)
    scene = head.with_material(Material(random, other, other))
    mesh = head.mesh
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    uv = (points.barycentric[..., None] * mesh.uvs[mesh.uv_triangles[points.triangle]]).sum(2)
    weight = points.distinct.float()[..., None]
    expected = (sample_map(random, uv)[0] * weight).sum(1) / weight.sum(1)
    assert torch.allclose(points.averages(scene)(random.flatten(0, 2)), expected, atol=2e-6)


def test_derivatives(transfer: TransferRenderer, renderer: MitsubaRenderer, head: Scene) -> None:
    """Of the image by light and maps: against finite differences, and against the ray tracer's."""
    chosen = facing(head) > 0.3
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(int(chosen.sum()), 3, generator=generator)
    values = {
        "diffuse": head.material.diffuse,
        "specular": head.material.specular,
        "roughness": head.material.roughness,
        "light": head.environment.radiance,
    }

    def weighed(drawn_by: TransferRenderer | MitsubaRenderer, given: dict[str, Tensor]) -> Tensor:
        material = Material(given["diffuse"], given["specular"], given["roughness"])
        scene = replace(head, material=material, environment=Environment(given["light"]))
        return (drawn_by.render(scene, 64, 5)[0][chosen][:, :3] * weight).sum()

    for name, value in values.items():
        leaf = value.clone().requires_grad_()
        (found,) = torch.autograd.grad(weighed(transfer, values | {name: leaf}), leaf)
        (traced,) = torch.autograd.grad(weighed(renderer, values | {name: leaf}), leaf)
        direction = value * (0.5 + torch.rand(value.shape, generator=generator))
        step = 0.01 * direction
        above, below = (weighed(transfer, values | {name: value + sign * step}) for sign in (1, -1))
        slope = float((found * direction).sum())
        assert slope == pytest.approx(float(above - below) / 0.02, rel=2e-3), name
        assert slope == pytest.approx(float((traced * direction).sum()), rel=0.03), name


def test_what_moves_is_ray_traced(renderer: MitsubaRenderer, head: Scene) -> None:
    wanted = torch.ones(SIZE, SIZE, dtype=torch.bool)
    transfer = TransferRenderer(renderer, [head], [wanted], BANDS)
    camera = replace(head.camera, translation=head.camera.translation + 1)
    tracked = replace(head.mesh, vertices=head.mesh.vertices.clone().requires_grad_())
    for scene in (replace(head, camera=camera), replace(head, mesh=tracked)):
        assert torch.equal(transfer.render(scene, 2, 3), renderer.render(scene, 2, 3))
    assert torch.equal(transfer.render(head, 2, 3), transfer.render(head, 4, 7))
    assert renderer.noisy and not transfer.noisy


def test_photos_that_do_not_fit_in_memory_are_ray_traced(
    renderer: MitsubaRenderer, head: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_renderer, "MOST_STORED", 0)
    transfer = TransferRenderer(renderer, [head], [torch.ones(SIZE, SIZE, dtype=torch.bool)], BANDS)
    assert transfer.noisy
    assert torch.equal(transfer.render(head, 2, 3), renderer.render(head, 2, 3))


def test_only_light_with_shadows_is_precomputed(renderer: MitsubaRenderer, head: Scene) -> None:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    assert isinstance(with_transfer(renderer, [head], [mask], BANDS), TransferRenderer)
    other = VertexRenderer()
    assert with_transfer(other, [head], [mask], BANDS) is other


def test_stage_3_ends_in_the_same_maps(tmp_path: Path) -> None:
    files = photograph(person(create_model("open"), 96), tmp_path, samples=64)
    config = fitting_config(96, iterStep2=2, iterStep3=30, rtSamples=4, rtTrainingSamples=16)
    transferred = reconstruct(files.photo, tmp_path, config, landmarks=files.landmarks)
    start = tmp_path / "photo" / "checkpoints" / "stage2.npz"
    traced = replace(config, lightTransfer=False)
    plain = reconstruct(files.photo, tmp_path / "again", traced, landmarks=files.landmarks, checkpoint=start)
    assert plain.material is not None and transferred.material is not None and plain.confidence is not None
    difference = transferred.material.diffuse - plain.material.diffuse
    assert 0 < difference.square().mean().sqrt() < 0.02
    seen = plain.confidence[..., 0] > 0.5
    assert difference[seen].square().mean().sqrt() < 0.02
