"""The ground truth: its physics against closed forms and Mitsuba, its plan, and one case from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from benchmarks.ground_truth import points
from benchmarks.ground_truth.cases import Case, plan
from benchmarks.ground_truth.detail import depth_inside, gradient_noise, spots
from benchmarks.ground_truth.drawing import Studio, Surface, at_mitsuba_rows, diffuse_albedo, mitsuba
from benchmarks.ground_truth.heads import EYE, ICT_SOLID, INSIDE, SKIN, TONGUE, Head, IctModel, read_ict
from benchmarks.ground_truth.lights import (
    HEIGHT,
    LUMINANCE,
    RELIGHT_SEEDS,
    disc,
    environment,
    metered,
    relighting_environments,
    towards,
)
from benchmarks.ground_truth.photographs import EXPOSURE, MIN_FACING, photograph, sensed
from benchmarks.ground_truth.points import SurfacePoints, detected, first_met, seen
from benchmarks.ground_truth.record import GroundTruth, cases
from benchmarks.ground_truth.skin import TONES, clay, lab_to_linear
from nextface.landmarks import MEDIAPIPE
from nextface.models.open_head import load_open_head
from nextface.scene.colour import srgb_to_linear
from nextface.scene.lighting import map_directions, map_solid_angles

ICT = Path(__file__).parents[3] / "shared" / "models" / "ict_facekit" / "FaceXModel"
needs_ict = pytest.mark.skipif(
    not ICT.is_dir(), reason=f"the ICT-FaceKit light model, which is not part of the project, is not in {ICT}"
)
SIZE = 40  # pixels


def ball(specular: float, centre: tuple[float, float] = (0.0, 0.0)) -> Surface:
    """A ball of 60 mm radius whose roughness grows from its left to its right."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=60.0)
    across = (mesh.vertices[:, 0] / 60 + 1) / 2
    colour = np.stack([0.8 - 0.3 * across, np.full_like(across, 0.4), 0.1 + 0.3 * across], 1)
    return Surface(
        mesh.vertices + np.array([*centre, 600.0]), mesh.faces, colour, 0.15 + 0.8 * across, specular
    )


def studio(surface: Surface) -> Studio:
    """A camera that the ball fills."""
    return Studio([surface], SIZE * 600 / 150, SIZE)


def test_the_diffuse_lobe_is_the_one_that_mitsuba_draws() -> None:
    """`principled` with its index matched to air is its diffuse lobe; a ball in even light has no shadows."""
    drawer = studio(ball(specular=0.0))
    sightings = drawer.sightings(1)
    albedo = drawer.albedo(sightings)
    drawn = drawer.radiance(np.ones((16, 32, 3)), 144, seed=2)
    clear = (sightings.facing.min(-1) > MIN_FACING) & (sightings.surface == 0).all(-1)
    assert clear.sum() > 700
    ratio = albedo[clear] / drawn[clear][:, :3]
    assert ratio.mean() == pytest.approx(1, abs=0.003)
    assert ratio.std() < 0.03
    plain = sightings.of(0, drawer.surfaces[0].triangles, drawer.surfaces[0].colour).mean(2)
    assert abs(plain[clear] / drawn[clear][:, :3] - 1).max() > 0.1  # base colours would not have passed


def test_a_smooth_surface_loses_what_the_lobe_says() -> None:
    """At roughness 0, Burley's lobe is a product of two factors, and its integral a closed form."""
    graze = (1 - 0.3) ** 5
    incoming = 1 - 2 * (1 / 6 - 1 / 7) / 2  # the mean over the cosine of 1 - (1 - cos)^5 / 2
    found = diffuse_albedo(np.array([0.3, 1.0]), np.zeros(2))
    np.testing.assert_allclose(found, [(1 - graze / 2) * incoming, incoming], rtol=1e-3)


def test_pictures_and_vertices_agree_about_the_camera() -> None:
    """An off-centre ball covers the pixels that its vertices project to."""
    drawer = studio(ball(0.4, centre=(12.0, -7.0)))
    coverage = drawer.radiance(np.ones((8, 16, 3)), 16, seed=1)[..., 3]
    pixels = drawer.project(drawer.surfaces[0].vertices)
    np.testing.assert_allclose(
        drawer.surfaces[0].vertices @ drawer.intrinsics.T[:, :2] / drawer.surfaces[0].vertices[:, 2:], pixels
    )
    total, centres = coverage.sum(), np.arange(SIZE) + 0.5
    hull = cv2.contourArea(cv2.convexHull(pixels.astype(np.float32)))
    middle = [(coverage.sum(0) * centres).sum() / total, (coverage.sum(1) * centres).sum() / total]
    assert total == pytest.approx(hull, rel=0.01)
    np.testing.assert_allclose(middle, (pixels.min(0) + pixels.max(0)) / 2, atol=0.1)
    sightings = drawer.sightings(1)
    np.testing.assert_allclose((sightings.surface == 0).mean(-1), coverage, atol=0.3)
    met = sightings.of(0, drawer.surfaces[0].triangles, drawer.surfaces[0].vertices)[18, 22]
    np.testing.assert_allclose(drawer.project(met).mean(0), [22.5, 18.5], atol=0.2)


def test_landmarks_are_where_they_lie_and_only_where_they_show() -> None:
    """Of a ball, what faces the camera is seen; what is behind, in an eye or beside the picture is not."""
    surface = ball(0.0)
    drawer, vertices = studio(surface), surface.vertices
    pixels = np.array([[20.0, 20.0], [25.5, 18.2], [1.0, 1.0]])
    triangle, weights = first_met(pixels, vertices, surface.triangles, drawer)
    assert triangle[2] == -1 and (triangle[:2] >= 0).all()
    points = SurfacePoints(surface.triangles[triangle[:2]], weights[:2], np.ones(2, bool))
    np.testing.assert_allclose(drawer.project(points.at(vertices)), pixels[:2], atol=1e-9)
    np.testing.assert_allclose(points.at(vertices)[0], [0, 0, 540], atol=0.2)
    part = np.full(len(vertices), SKIN)
    head = Head(vertices, vertices, vertices, surface.triangles, part, np.full(len(vertices), np.nan))
    np.testing.assert_allclose(seen(points, head, vertices, drawer), pixels[:2], atol=1e-9)
    for moved in (np.array([0, 0, 1200]) - vertices, vertices + np.array([85.0, 0, 0])):
        assert np.isnan(seen(points, head, moved, drawer)).all()
    one_sure = replace(points, sure=np.array([True, False]))
    assert np.isnan(seen(one_sure, head, vertices, drawer)).any(1).tolist() == [False, True]
    eye = replace(head, part=np.full(len(vertices), EYE))
    assert np.isnan(seen(points, eye, vertices, drawer)).all()


def test_mitsuba_sees_every_texel_where_it_lies() -> None:
    """Radiance from the texels' centres, by Mitsuba's own look-up, is the texels'."""
    mi = mitsuba()
    texels = np.random.default_rng(2).uniform(0, 1, (12, 24, 3)).astype(np.float32)
    light = mi.load_dict({"type": "envmap", "bitmap": mi.Bitmap(at_mitsuba_rows(texels))})
    np.testing.assert_array_equal(at_mitsuba_rows(texels[::-1]), at_mitsuba_rows(texels)[::-1])
    looked_up = mi.SurfaceInteraction3f()
    for row, column in ((0, 3), (2, 11), (6, 23), (11, 12)):
        looked_up.wi = mi.Vector3f(*(-map_directions(12)[row, column].numpy()).tolist())
        np.testing.assert_allclose(np.ravel(light.eval(looked_up)), texels[row, column], atol=2e-3)


@pytest.mark.parametrize(("azimuth", "elevation"), [(55, 0), (0, 55), (-50, -20)])
def test_light_falls_from_where_the_map_says(azimuth: float, elevation: float) -> None:
    """On a matte ball, a lamp's brightest point lies on its side of the picture."""
    lamp = disc(azimuth, elevation, 6)[..., None] * np.ones(3) * 50.0
    bright = studio(ball(0.0)).radiance(lamp, 36, seed=1)[..., 1]
    row, column = (np.indices(bright.shape) + 0.5 - SIZE / 2) * bright / bright.sum()
    way = towards(azimuth, elevation)
    assert np.sign(np.round([column.sum(), -row.sum()], 0)).tolist() == np.sign(np.round(way[:2], 2)).tolist()


def test_no_head_and_no_light_serves_twice() -> None:
    """Cases that are reported share nothing with those for tuning, nor with the lights to relight with."""
    planned = plan()
    assert len(planned) >= 36
    assert sum(case.heads == "ict" for case in planned) >= 12
    for seeds in ([case.head_seed for case in planned], [case.light_seed for case in planned]):
        assert len(set(seeds)) == len(planned)
    assert not {case.light_seed for case in planned} & set(RELIGHT_SEEDS.values())
    for source in ("ict", "makehuman", "bent"):
        for tone in TONES:
            group = [case.reported for case in planned if (case.heads, case.tone) == (source, tone)]
            assert sum(group) * 2 == len(group) > 0
    assert plan() == planned
    assert {case.light for case in planned if case.reported} == {case.light for case in planned}


def test_cases_stay_who_they_are() -> None:
    """Figures are compared over the years: sources are added behind what there was."""
    reported = {
        "ict": ["light_1", "light_2", "medium_0", "medium_1", "dark_0", "dark_3"],
        "makehuman": ["light_1", "light_2", "medium_1", "medium_3", "dark_1", "dark_2"],
        "bent": ["light_1", "light_3", "medium_2", "medium_3", "dark_1", "dark_2"],
    }
    names = [f"{source}_{case}" for source, cases_of_it in reported.items() for case in cases_of_it]
    assert [case.name for case in plan() if case.reported] == names
    assert [case.head_seed for case in plan()] == list(range(1_000, 1_036))
    assert [(case.light_seed, case.view_seed) for case in plan()[:2]] == [(2_000, 3_000), (2_001, 3_001)]


def test_the_light_decides_the_exposure() -> None:
    """All lights meter alike with a dome towards the camera, whatever skin they light; none is negative."""
    maps = [environment(case.light, case.light_seed) for case in plan()[::5]] + relighting_environments()
    assert len({light.tobytes() for light in maps}) == len(maps)
    for light in maps:
        assert light.shape == (HEIGHT, 2 * HEIGHT, 3) and light.min() >= 0
        assert metered(light) @ LUMINANCE == pytest.approx(1, abs=1e-4)
        assert light.max() > 5  # there are lamps in it
    lamp = disc(60, 20, 5)
    expected = (1 + towards(60, 20)[2]) * map_solid_angles(HEIGHT).numpy()[lamp].sum() / (4 * np.pi)
    np.testing.assert_allclose(metered(lamp[..., None] * np.ones(3)), expected, rtol=1e-3)


def test_the_sensor_adds_its_noise_and_clips() -> None:
    """The mean stays; the variance is a gain times the value, plus a constant."""
    levels = np.array([0.02, 0.2, 0.4, 0.8])
    even = np.tile(levels[:, None, None], (1, 40_000, 3))
    found = sensed(even, np.random.default_rng(1))
    np.testing.assert_allclose(found.mean((1, 2)), levels, rtol=2e-3)
    variance = found.var((1, 2))
    gain, constant = np.polyfit(levels, variance, 1)
    assert 1e-4 < gain < 1e-3 and 0 < constant < 1e-4
    np.testing.assert_allclose(variance, gain * levels + constant, rtol=0.03)
    assert sensed(np.full((9, 9, 3), 1.5), np.random.default_rng(1)).min() == 1


def test_skin_tones_are_three_and_far_apart() -> None:
    """Individual typology angles of light, medium and dark skin, as dermatology groups them."""
    angles = {}
    for tone, (lab, _) in TONES.items():
        linear = lab_to_linear(np.array([lab]))
        assert (linear > 0).all() and (linear < 0.8).all()
        back = cv2.cvtColor(np.float32(linear)[None], cv2.COLOR_LRGB2Lab)[0]
        np.testing.assert_allclose(back[0], lab, atol=0.2)
        angles[tone] = np.degrees(np.arctan2(lab[0] - 50, lab[2]))
    assert angles["light"] > 41 > angles["medium"] > 10 > -30 > angles["dark"]


def test_detail_is_what_it_says() -> None:
    """Noise of unit variance without steps, spots of their size, and depths inside a rectangle."""
    points = np.random.default_rng(3).uniform(-200, 200, (40_000, 3))
    noise = gradient_noise(points, 5.0, seed=1)
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(1, abs=0.06)
    assert abs(gradient_noise(points + 0.001, 5.0, seed=1) - noise).max() < 0.01
    assert abs(np.corrcoef(noise, gradient_noise(points + 12.5, 5.0, seed=1))[0, 1]) < 0.05
    line = np.array([[x, 0.0, 0.0] for x in (0, 2, 4, 40)])
    found = spots(line, line[:1], np.array([2.0]), np.array([0.5]))
    np.testing.assert_allclose(found, [0.5, 0.5 * np.exp(-0.5), 0.5 * np.exp(-2), 0])
    rectangle = np.array([[0, 0], [10, 0], [10, 4], [0, 4.0]])
    depth = depth_inside(np.array([[5, 1.5], [9, 2], [13, 8], [-2, 2]]), rectangle)
    np.testing.assert_allclose(depth, [1.5, 1, -5, -2])


@pytest.fixture(scope="module")
def open_jawed() -> tuple[Head, np.ndarray]:
    """The open head with its jaw open, in the place of a head that needs other data, and landmarks [478, 3]."""
    model = load_open_head()
    names = list(model.expression_names)
    jaw = torch.tensor([[0.6 * (name == "jawOpen") for name in names]])
    neutral, expressed = (
        model.vertices(torch.zeros(1, model.identity_size), moved)[0].double().numpy()
        for moved in (torch.zeros_like(jaw), jaw)
    )
    part = np.full(len(neutral), SKIN)
    for name, number in {"mouth": INSIDE, "eye_sockets": INSIDE, "eyes": EYE, "tongue": TONGUE}.items():
        part[model.regions[name].numpy()] = number
    angle = np.where(model.regions["iris"].numpy(), 15.0, np.where(part == EYE, 45.0, np.nan))
    head = Head(neutral, expressed, neutral, model.triangles.numpy(), part, angle)
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    corners = model.triangles[embedding.triangles].numpy()
    template = np.zeros((478, 3))
    template[embedding.indices.numpy()] = np.einsum(
        "pk,pkc->pc", embedding.barycentric.numpy(), neutral[corners]
    )
    return head, template


@pytest.fixture(scope="module")
def photographed(
    open_jawed: tuple[Head, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[GroundTruth, Path, Case]:
    """A small photo of it."""
    (head, template), folder = open_jawed, tmp_path_factory.mktemp("truth")
    case = replace(plan()[0], name="one", tone="medium")
    return photograph(case, head, template, folder, 72), folder, case


def test_landmarks_are_found_in_the_picture_as_it_is(
    open_jawed: tuple[Head, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a turned one, whose pixels are others: a head that lies on its side has its points on its face."""
    head, expected = open_jawed
    monkeypatch.setattr(points, "SIZE", 192)
    plain = clay(head)
    lying = Rotation.from_euler("z", 75, degrees=True).apply(head.neutral)
    found = detected(lying, head, plain.colour, plain.roughness).at(head.neutral)
    inner = [*MEDIAPIPE.right_eye, *MEDIAPIPE.left_eye, *MEDIAPIPE.lips_outer]
    assert np.median(np.linalg.norm(found - expected, axis=1)[inner]) < 6


def test_a_case_is_read_as_it_was_written(photographed: tuple[GroundTruth, Path, Case]) -> None:
    """Every field, without pickles."""
    written, folder, case = photographed
    read = GroundTruth.load("one", folder)
    assert cases(folder) == ["one"]
    for name, value in vars(written).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(read, name), value)
        else:
            assert getattr(read, name) == value, name
    assert (read.name, read.tone, read.reported) == ("one", "medium", case.reported)
    assert read.relit.shape == (3, 72, 72, 3) and read.landmarks.shape == (478, 2)


def test_the_parts_of_a_case_agree(photographed: tuple[GroundTruth, Path, Case]) -> None:
    """Vertices, landmarks, masks and the photo show one head in one place."""
    truth = photographed[0]
    pixels = truth.vertices @ truth.intrinsics.T.astype(np.float32)
    column, row = np.floor(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    inside = (column >= 0) & (column < 72) & (row >= 0) & (row < 72)
    assert (truth.coverage[row[inside], column[inside]] > 0).mean() > 0.998  # rays may miss a pixel's corner
    visible = truth.visible_skin
    assert visible.mean() > 0.1 and (truth.coverage[visible] > 0.999).all()
    assert (truth.albedo[visible] > 0).all() and (truth.albedo[truth.coverage == 0] == 0).all()
    found = truth.landmarks[~np.isnan(truth.landmarks).any(1)]
    assert 200 < len(found) < 450  # those in the eyes and behind the cheek are not seen
    shown = visible[tuple(np.floor(found[:, ::-1]).astype(int).T)]
    assert shown.mean() > 0.6
    tip = truth.intrinsics @ truth.nose_tip
    assert np.linalg.norm(tip[:2] / tip[2] - truth.landmarks[[1, 4]], axis=1).min() < 4
    assert np.isnan(truth.landmarks[468:]).all()


def test_a_photo_is_the_exposed_radiance(photographed: tuple[GroundTruth, Path, Case]) -> None:
    """But for noise and compression; clipped where it would be brighter than white."""
    truth = photographed[0]
    with Image.open(truth.photo) as picture:
        assert picture.size == (72, 72) and picture.format == "JPEG" and not picture.getexif()
        linear = np.asarray(srgb_to_linear(np.asarray(picture, np.float64) / 255))
    exposed = np.clip(truth.exposure * truth.radiance, 0, 1)[truth.visible_skin]
    assert truth.exposure == EXPOSURE
    assert linear[truth.visible_skin].mean() == pytest.approx(exposed.mean(), rel=0.03)
    assert np.corrcoef(linear[truth.visible_skin].ravel(), exposed.ravel())[0, 1] > 0.97


@needs_ict
def test_ict_heads_are_the_average_plus_standard_normal_identities() -> None:
    """And move with up to two expressions; eyes and teeth are no skin, and the mesh is as fine as a pixel."""
    model = IctModel(ICT)
    generator = np.random.default_rng(8)
    by_hand = model.neutral.copy()
    for path in sorted(ICT.glob("identity*.obj")):
        by_hand += generator.normal() * (read_ict(path) - model.neutral)
    np.testing.assert_allclose(model.random(np.random.default_rng(8)), by_hand, atol=1e-9)
    head = model.head(8)
    edges = head.neutral[head.triangles[:, 0]] - head.neutral[head.triangles[:, 1]]
    skin = (head.part == SKIN)[head.triangles].all(1) & (head.neutral[head.triangles[:, 0], 2] > 60)
    assert np.median(np.linalg.norm(edges[skin], axis=1)) < 0.8
    assert set(model.expressions) >= {"jawOpen", "mouthPucker", "browDownLeft", "mouthSmileRight"}
    eyes = head.part == EYE
    np.testing.assert_allclose(head.neutral[eyes], by_hand[:ICT_SOLID][-eyes.sum() :], atol=1e-9)
    assert np.isnan(head.eye_angle).tolist() == (~eyes).tolist()
