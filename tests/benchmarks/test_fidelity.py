"""Scores against ground truth: exact for a perfect answer, and the known number for a known error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from known_photo import EXPOSURE, answer, cropped, relighting, truth_of
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor

from benchmarks import fidelity
from benchmarks.alignment import Similarity, Surface
from benchmarks.fidelity import Results
from benchmarks.ground_truth.lights import relighting_environments
from benchmarks.ground_truth.record import GroundTruth
from benchmarks.scoring.albedo import score_albedo, seen_albedo, typology_angle
from benchmarks.scoring.case import MEAN_FACE, score_case
from benchmarks.scoring.errors import relative_error
from benchmarks.scoring.frames import in_frame, mask_in_frame, scene_of_photo, scored_pixels
from benchmarks.scoring.geometry import TrueFace, landmark_error, openness, outer_skin, score_geometry
from benchmarks.scoring.light import ROUGHNESS, ball_normals, ball_pictures, score_light, with_rows
from benchmarks.scoring.pictures import (
    decibels,
    drawn_twice,
    encoded,
    gain_to_the_eye,
    rerendered,
    score_relit,
    similarity,
    under,
)
from benchmarks.scoring.tables import photo_table, tables
from nextface.errors import NextFaceError
from nextface.landmarks.topology import MEDIAPIPE
from nextface.models.face_model import LandmarkEmbedding
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.scene.colour import linear_to_srgb
from nextface.scene.lighting import map_directions, map_solid_angles
from nextface.scene.prefiltered import directional_albedo
from renderers.mitsuba.renderer import MitsubaRenderer
from renderers.vertex.renderer import VertexRenderer

SIZE = 128


@pytest.fixture(scope="module")
def perfect() -> Reconstruction:
    return answer(SIZE)


@pytest.fixture(scope="module")
def truth(perfect: Reconstruction) -> GroundTruth:
    return truth_of(perfect)


@pytest.fixture(scope="module")
def caster() -> Iterator[MitsubaRenderer]:
    renderer = MitsubaRenderer("cpu", threads=1)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def face(truth: GroundTruth, caster: MitsubaRenderer) -> TrueFace:
    return TrueFace.of(truth, caster)


def embedding_of(reconstruction: Reconstruction) -> LandmarkEmbedding:
    embedding = reconstruction.model.landmarks("mediapipe")
    assert embedding is not None
    return embedding


def moved(face: TrueFace, motion: Similarity) -> TrueFace:
    """The true face elsewhere."""
    return TrueFace(motion(face.points), motion(face.nose_tip[None])[0], motion(face.landmarks))


def turn(x: float, y: float, z: float) -> np.ndarray:
    return Rotation.from_euler("xyz", [x, y, z], degrees=True).as_matrix()


# The whole


@pytest.mark.parametrize("crop", [None, (0.75, (13, 9), 84)], ids=["whole", "cropped"])
def test_a_perfect_answer_is_perfect(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace, crop: Any
) -> None:
    row = perfect if crop is None else cropped(perfect, *crop)
    mask = np.ones((row.frames[0].height, row.frames[0].width), bool)
    scores = score_case(truth, face, {"row": row}, mask, VertexRenderer(), relighting())["row"]
    assert scores["geometry"]["median"] < 1e-3 and scores["geometry"]["mean"] < 2e-3
    assert scores["geometry"]["metric_median"] < 1e-3 and abs(scores["geometry"]["camera"]) < 1e-5
    assert scores["landmarks"] < 1e-5
    assert scores["albedo"]["error"] < 1e-3 and scores["albedo"]["gain"] == pytest.approx(1, abs=1e-4)
    assert scores["albedo"]["tone"] == pytest.approx(scores["albedo"]["true_tone"], abs=0.01)
    assert scores["albedo"]["flat"] > 0.05 and scores["albedo"]["pixels"] > 2000
    assert scores["light"]["diffuse"] < 1e-6 and scores["light"]["glossy"] < 1e-6
    # Pictures of another size are drawn at other points.
    least = 90 if crop is None else 30
    assert scores["relit"]["psnr"] > least and scores["psnr"] > (least if crop is None else 25)
    assert scores["relit"]["gain"] == pytest.approx(1, abs=1e-3 if crop is None else 0.02)
    assert scores["relit"]["ssim"] > (0.9999 if crop is None else 0.95)
    json.dumps(scores)


# Alignment


def test_nearest_points_are_those_of_triangles() -> None:
    """Above, beside an edge and beyond a corner of a square."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], float)
    surface = Surface(vertices, np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.array([[2, 7, 3], [5, -4, 3], [13, 14, 0], [5, 5, -2]], float)
    feet = surface.nearest(points)
    assert np.allclose(feet.points, [[2, 7, 0], [5, 0, 0], [10, 10, 0], [5, 5, 0]])
    assert np.allclose(feet.distances(points), [3, 5, 5, 2])
    weights = surface.barycentric(feet)
    corners = vertices[np.array([[0, 1, 2], [0, 2, 3]])[feet.triangles]]
    assert np.allclose((weights[..., None] * corners).sum(1), feet.points)


def test_similarities_follow_each_other() -> None:
    first = Similarity(1.2, turn(10, 20, 30), np.array([1.0, 2, 3]))
    second = Similarity(0.7, turn(-40, 5, 60), np.array([-4.0, 5, 6]))
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(first.then(second)(points), second(first(points)))
    found = Similarity.between(points, first(points))
    assert found.scale == pytest.approx(1.2) and np.allclose(found.rotation, first.rotation)
    assert Similarity.between(points, first(points), scaled=False).scale == 1


@pytest.mark.parametrize("scaled", [True, False])
def test_a_head_is_laid_on_itself(truth: GroundTruth, scaled: bool) -> None:
    points = truth.vertices[truth.skin].astype(float)
    surface = Surface(truth.vertices, truth.triangles)
    motion = Similarity(1.06 if scaled else 1.0, turn(3, -4, 2), np.array([4.0, -6, 5]))
    some = motion(points[::3])
    some[::15] += [0, 0, -40]  # outliers
    found = surface.aligned(some, scaled=scaled)
    assert np.abs(found(motion(points)) - points).max() < 0.05
    assert found.scale == pytest.approx(1 / motion.scale, rel=1e-3)


# Geometry


def test_scale_counts_only_in_metric_scores(perfect: Reconstruction, face: TrueFace) -> None:
    """A head that is 5 % larger and as much further away looks the same."""
    larger = moved(face, Similarity(1.05, np.eye(3), np.zeros(3)))
    found = score_geometry(larger, perfect, embedding_of(perfect))
    assert found.median < 1e-2 and found.scale == pytest.approx(1 / 1.05, rel=1e-4)
    assert found.metric_median > 0.5
    assert found.camera == pytest.approx(1 / 1.05 - 1, abs=1e-4)


def test_where_the_head_is_does_not_count(perfect: Reconstruction, face: TrueFace) -> None:
    shift = np.array([0, 0, 76.0])  # mm away from the camera
    away = moved(face, Similarity(1.0, np.eye(3), shift))
    found = score_geometry(away, perfect, embedding_of(perfect))
    assert found.median < 1e-2 and found.metric_median < 1e-2
    near, far = np.linalg.norm(face.nose_tip), np.linalg.norm(face.nose_tip + shift)
    assert found.camera == pytest.approx(near / far - 1, abs=1e-3)


def rough(face: TrueFace, truth: GroundTruth) -> TrueFace:
    """The points half a millimetre above and below the surface, in turn."""
    surface = Surface(truth.vertices, truth.triangles)
    normals = surface.normals[surface.nearest(face.points).triangles]
    sign = np.where(np.arange(len(normals)) % 2, 0.5, -0.5)[:, None]
    return replace(face, points=face.points + sign * normals)


def test_distances_are_those_to_the_surface(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace
) -> None:
    found = score_geometry(rough(face, truth), perfect, embedding_of(perfect))
    assert found.median == pytest.approx(0.5, abs=0.02)  # where all are as far, trimming misaligns
    assert found.mean == pytest.approx(0.5, abs=0.02)


def test_distances_are_in_millimetres_of_the_truth(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace
) -> None:
    larger = moved(rough(face, truth), Similarity(1.4, np.eye(3), np.zeros(3)))
    assert score_geometry(larger, perfect, embedding_of(perfect)).median == pytest.approx(0.5 * 1.4, abs=0.03)


def test_the_inside_of_a_head_is_no_surface(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace
) -> None:
    """Points on the tongue are far from the outer skin."""
    inside = perfect.model.regions["tongue"].numpy()
    points = truth.vertices[inside].astype(float)
    more = replace(face, points=np.concatenate([face.points, points]))
    mean = score_geometry(more, perfect, embedding_of(perfect)).mean
    assert mean > 5 * inside.sum() / len(more.points)


def test_eyeballs_count_where_the_truth_has_them(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace
) -> None:
    """A scan's points lie on them, not on the lids behind which a model's skin goes on."""
    eyes = truth.vertices[perfect.model.regions["eyes"].numpy()]
    front = eyes[eyes[:, 2] < np.quantile(eyes[:, 2], 0.2)].astype(float)
    more = replace(face, points=np.concatenate([face.points, front]))
    without, with_eyes = (
        score_geometry(each, perfect, embedding_of(perfect)).mean
        for each in (more, replace(more, with_eyes=True))
    )
    assert with_eyes < 2e-3 and without > 0.01


def test_open_skin_near_the_nose_counts(
    perfect: Reconstruction, truth: GroundTruth, caster: MitsubaRenderer
) -> None:
    """Evenly over its area; of a head all of which is called skin, nothing inside the mouth."""
    face = TrueFace.of(replace(truth, skin=np.ones_like(truth.skin)), caster)
    assert 90 < np.linalg.norm(face.points - truth.nose_tip, axis=1).max() < 95
    inside = Surface(
        truth.vertices, truth.triangles[perfect.model.regions["mouth"].numpy()[truth.triangles].all(1)]
    )
    outside = Surface(truth.vertices, outer_skin(perfect.model).numpy())
    behind = inside.nearest(face.points).distances(face.points) < 1e-6
    behind &= outside.nearest(face.points).distances(face.points) > 1
    assert behind.mean() < 0.01
    left = (face.points[:, 0] < truth.nose_tip[0] - 40).mean()
    mesh = trimesh.Trimesh(truth.vertices, outer_skin(perfect.model).numpy(), process=False)
    centres = mesh.triangles_center
    near = np.linalg.norm(centres - truth.nose_tip, axis=1) < 95
    far = near & (centres[:, 0] < truth.nose_tip[0] - 40)
    assert left == pytest.approx(mesh.area_faces[far].sum() / mesh.area_faces[near].sum(), abs=0.03)


def test_openness_by_hand(truth: GroundTruth, caster: MitsubaRenderer) -> None:
    """A large plate hides half of what its foot sees, nearly all of what is before it, else nothing."""
    size = 1e4
    corners = np.array([[0, -size, 0], [0, size, 0], [0, size, size], [0, -size, size]])
    plate = replace(truth, vertices=corners.astype(np.float32), triangles=np.array([[0, 1, 2], [0, 2, 3]]))
    points = np.array([[-0.5, 0, 0], [50, 0, 100], [50, 0, 100]], float)
    normals = np.array([[0, 0, 1], [-1, 0, 0], [1, 0, 0]], float)
    found = openness(plate, points, normals, caster)
    assert found[0] == pytest.approx(0.5, abs=0.1)
    assert found[1] < 0.1 and found[2] == 1


def test_landmarks_lie_on_the_true_surface(perfect: Reconstruction, truth: GroundTruth, face: TrueFace) -> None:
    """To a pixel, which is 2 mm here; hidden ones stay unknown."""
    embedding = embedding_of(perfect)
    corners = truth.vertices[truth.triangles[embedding.triangles.numpy()]]
    places = (embedding.barycentric.numpy()[..., None] * corners).sum(1)
    away = np.linalg.norm(face.landmarks[embedding.indices.numpy()] - places, axis=1)
    assert np.nanmedian(away) < 1.5
    assert np.isnan(face.landmarks[[*MEDIAPIPE.left_iris, *MEDIAPIPE.right_iris]]).all()


@pytest.mark.parametrize("hidden", [[], [33]], ids=["both eyes", "one eye's corner hidden"])
def test_landmarks_three_pixels_away(perfect: Reconstruction, truth: GroundTruth, hidden: list[int]) -> None:
    eyes = np.linalg.norm(truth.landmarks[33] - truth.landmarks[263])
    points = truth.landmarks + np.array([0, 3.0])
    points[hidden] = np.nan
    found = landmark_error(replace(truth, landmarks=points), perfect, embedding_of(perfect))
    assert found == pytest.approx(3 / eyes, rel=1e-4)


def test_the_outline_is_no_landmark(perfect: Reconstruction, truth: GroundTruth) -> None:
    """Twenty points of the face are 3 pixels off, and the whole outline 50."""
    eyes = np.linalg.norm(truth.landmarks[33] - truth.landmarks[263])
    points = np.full_like(truth.landmarks, np.nan)
    known = [33, 263, *MEDIAPIPE.nose[:18]]
    points[known] = truth.landmarks[known] + np.array([3.0, 0])
    points[list(MEDIAPIPE.contour)] = truth.landmarks[list(MEDIAPIPE.contour)] + 50
    found = landmark_error(replace(truth, landmarks=points), perfect, embedding_of(perfect))
    assert found == pytest.approx(3 / eyes, rel=1e-4)


# Albedo


def test_one_gain_is_free_in_albedo_but_not_in_tone() -> None:
    true = np.random.default_rng(0).uniform(0.9, 1.1, (500, 1)) * [0.5, 0.35, 0.25]
    found = score_albedo(0.8 * true, true)
    assert found.error < 1e-12 and found.gain == pytest.approx(1.25)
    assert found.tone < found.true_tone - 5
    assert found.flat == pytest.approx(np.sqrt(true.var(0).mean()) / true.mean())


def test_a_cast_is_an_error_of_albedo() -> None:
    """A head of one colour, too yellow: what a line through the origin leaves, over the mean."""
    true = np.tile([0.5, 0.4, 0.3], (10, 1))
    cast = np.array([1.1, 1.0, 0.8])
    found = score_albedo(cast * true, true)
    residual = np.linalg.lstsq((cast * true[0])[:, None], true[0], rcond=None)[1]
    assert found.error == pytest.approx(math.sqrt(residual[0] / 3) / 0.4)
    assert found.flat == pytest.approx(0, abs=1e-12)


def test_hue_is_the_ratio_of_red_and_green() -> None:
    random = np.random.default_rng(0)
    true = np.tile([0.5, 0.4, 0.3], (20_000, 1))
    true[:, 0] *= np.exp(random.normal(0, 0.08, 20_000))
    found = score_albedo(np.array([1.3, 1.0, 0.8]) * true, true)
    assert found.hue == pytest.approx(math.log(1.3)) and found.flat_hue == pytest.approx(0.08, rel=0.02)
    assert score_albedo(0.5 * true, true).hue < 1e-12


def test_noise_of_known_size_in_albedo() -> None:
    random = np.random.default_rng(0)
    found = score_albedo(0.4 + random.normal(0, 0.02, (20_000, 3)), np.full((20_000, 3), 0.4))
    assert found.error == pytest.approx(0.05, rel=0.02)


def test_typology_angle_by_hand() -> None:
    """CIELAB under D65, from the definition."""
    colour = np.array([0.42, 0.26, 0.17])
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    _, y, z = np.cbrt(np.array(to_xyz) @ colour / [0.95047, 1.0, 1.08883])
    expected = math.degrees(math.atan((116 * y - 16 - 50) / (200 * (y - z))))
    assert typology_angle(colour) == pytest.approx(expected, abs=0.1)
    assert typology_angle(np.full(3, 0.6)) == pytest.approx(90, abs=1)  # light grey
    assert typology_angle(np.array([0.05, 0.03, 0.02])) < -30


def test_maps_are_seen_as_vertices_are(perfect: Reconstruction, truth: GroundTruth) -> None:
    """A refined run has maps: the same albedo, baked, is seen nearly the same."""
    from nextface.export.folder import map_material

    mapped = replace(perfect, material=map_material(perfect, 512))
    albedo, covered = seen_albedo(scene_of_photo(mapped, SIZE, SIZE))
    pixels = scored_pixels(truth) & covered
    assert score_albedo(albedo[pixels], truth.albedo[pixels]).error < 0.02


def test_albedo_counts_only_where_the_reconstruction_is(
    perfect: Reconstruction, truth: GroundTruth, face: TrueFace
) -> None:
    """A head that lies too far to the right covers a part of the skin, and is judged by that."""
    aside = perfect.parameters.translation + torch.tensor([[60.0, 0, 0]])
    row = perfect.with_parameters(replace(perfect.parameters, translation=aside))
    pixels = scored_pixels(truth)
    scores = score_case(truth, face, {"row": row}, pixels, VertexRenderer(), relighting())["row"]
    found = scores["albedo"]
    covered = seen_albedo(scene_of_photo(row, SIZE, SIZE))[1]
    assert found["pixels"] == (pixels & covered).sum() < 0.8 * pixels.sum()


# Frames


def test_pictures_of_the_photo_come_to_the_frame_s_pixels(perfect: Reconstruction) -> None:
    """A ramp stays one, with the value of each pixel's middle."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    for scale, error in ((1.0, 1e-6), (0.5, 1e-4), (0.75, 0.1)):  # a pixel's square is flat: its middle counts
        row = cropped(perfect, scale, (12, 8), 56)
        seen = in_frame(np.stack([x, y], -1), row.frames[0])
        assert seen.shape == (56, 56, 2)
        down, across = np.mgrid[:56, :56] + 0.5
        assert np.allclose(seen[..., 0], across / scale + 12, atol=error)
        assert np.allclose(seen[..., 1], down / scale + 8, atol=error)


def test_a_mask_holds_whole_pixels_only(perfect: Reconstruction) -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[21:61, 21:61] = True
    inside = mask_in_frame(mask, cropped(perfect, 0.5, (0, 0), 64).frames[0])
    expected = np.zeros((64, 64), bool)
    expected[11:30, 11:30] = True  # of the pixels from 10.5 to 30.5
    assert (inside == expected).all()


def test_pixels_that_are_scored(truth: GroundTruth) -> None:
    pixels = scored_pixels(truth)
    assert not (pixels & ~truth.visible_skin).any()
    rows, columns = np.nonzero(pixels)
    points = truth.landmarks[np.isfinite(truth.landmarks).all(1)]
    assert columns.min() > points[:, 0].min() - 1.5 and columns.max() < points[:, 0].max() + 0.5
    assert rows.min() > points[:, 1].min() - 1.5 and rows.max() < points[:, 1].max() + 0.5
    assert 0.5 < pixels.sum() / truth.visible_skin.sum() < 0.9


# Light


def test_balls_under_even_light() -> None:
    matt, shiny = ball_pictures(torch.ones(64, 128, 3))
    assert np.allclose(matt, 1, atol=1e-3)
    plain, grazing = directional_albedo(ROUGHNESS, ball_normals()[:, 2])
    assert np.allclose(shiny, (plain + grazing)[:, None].numpy(), atol=0.015)


def lamp(x: float, y: float, z: float) -> Tensor:
    """A small lamp of power 1 in a direction."""
    towards = torch.nn.functional.normalize(torch.tensor([x, y, z], dtype=torch.float64), dim=0)
    lit = (map_directions(64) @ towards > math.cos(math.radians(8))).double()
    return (lit / (lit * map_solid_angles(64)).sum())[..., None].expand(-1, -1, 3)


def test_balls_under_a_lamp() -> None:
    """Lambert's law on the matt one; the glossy one is brightest where it mirrors the lamp."""
    matt, shiny = ball_pictures(lamp(1, 1, 1))
    normals = ball_normals().numpy()
    towards = np.ones(3) / math.sqrt(3)
    away = np.degrees(np.arccos(normals @ towards))
    lit = away < 75
    assert np.allclose(matt[lit, 0], np.cos(np.radians(away[lit])) / math.pi, atol=0.01)
    assert matt[away > 99].max() == 0
    half = towards + np.array([0, 0, 1])
    assert normals[shiny[:, 0].argmax()] @ half / np.linalg.norm(half) > math.cos(math.radians(3))


def test_light_scores() -> None:
    light, other = lamp(1, 1, 1), lamp(-1, 1, 1)
    same = score_light(3 * light, light)
    assert same.diffuse < 1e-12 and same.glossy < 1e-12
    different = score_light(other, light)
    assert 0.5 < different.diffuse < 1 and different.glossy > 0.99
    # Even light says nothing of a lamp: what is left is what is not its mean.
    matt = ball_pictures(light)[0]
    flat = math.sqrt(1 - matt.mean() ** 2 / (matt**2).mean())
    assert score_light(torch.ones(64, 128, 3), light).diffuse == pytest.approx(flat, abs=1e-3)


def test_maps_of_other_sizes_keep_their_power() -> None:
    fine = torch.rand(64, 128, 3, generator=torch.Generator().manual_seed(0)).double()
    for rows in (16, 64, 256):
        light = with_rows(fine, rows)
        assert light.shape == (rows, 2 * rows, 3)
        power = (light * map_solid_angles(rows)[..., None]).sum((0, 1))
        assert torch.allclose(power, (fine * map_solid_angles(64)[..., None]).sum((0, 1)), rtol=1e-3)
    assert torch.allclose(with_rows(fine, 64), fine)
    with pytest.raises(ValueError, match="neither divides"):
        with_rows(fine, 48)


def test_relative_error_by_hand() -> None:
    assert relative_error(np.array([3.0, 4.0]), np.array([6.0, 8.0])) == pytest.approx(0)
    assert relative_error(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert relative_error(np.zeros(3), np.ones(3)) == pytest.approx(1)


# Pictures


def test_decibels_without_noise() -> None:
    true = np.full((200, 200, 3), 0.5)
    assert decibels(np.stack([true + 0.1] * 2), true) == pytest.approx(20)
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 200, 200, 3))
    assert decibels(true + 0.03 + noise, true) == pytest.approx(-20 * math.log10(0.03), abs=0.3)
    assert decibels(np.stack([true] * 2), true) == 100


def test_the_gain_ignores_how_bright_clipped_highlights_are() -> None:
    true = np.random.default_rng(0).uniform(0.05, 0.5, (1000, 3))
    found = true / 1.7
    true[:20] = 50.0
    found[:20] = 3.0
    assert gain_to_the_eye(found, true) == pytest.approx(1.7, rel=1e-3)


def test_relit_with_one_gain_for_all_lights(perfect: Reconstruction, truth: GroundTruth) -> None:
    """Half the albedo at twice the light is the same; a light that is twice as bright in one of them is not."""
    material = perfect.model_material()
    matt = Material(material.diffuse, 0 * material.specular, torch.ones_like(material.roughness))
    drawn = truth_of(replace(perfect, material=matt))
    half = replace(perfect, material=replace(matt, diffuse=matt.diffuse / 2))
    found = score_relit(drawn, half, VertexRenderer(), relighting(), 2)
    assert found.gain == pytest.approx(2, rel=0.05) and found.psnr > 30
    unlike = score_relit(drawn, half, VertexRenderer(), relighting() * np.array([1, 2])[:, None, None, None], 2)
    assert unlike.psnr < found.psnr - 8 and min(unlike.each) < unlike.psnr


def test_relit_compares_only_what_the_photo_shows(perfect: Reconstruction, truth: GroundTruth) -> None:
    spoiled = truth.relit.copy()
    spoiled[:, ~scored_pixels(truth)] = 0.9
    found = score_relit(replace(truth, relit=spoiled), perfect, VertexRenderer(), relighting(), 2)
    assert found.psnr > 90 and found.ssim > 0.9999


def test_rerender_of_a_light_that_is_too_bright(perfect: Reconstruction, truth: GroundTruth) -> None:
    mask = scored_pixels(truth)
    light = perfect.parameters.light + math.log(1.2)
    brighter = perfect.with_parameters(replace(perfect.parameters, light=light))
    photo = EXPOSURE * truth.radiance[mask].astype(float)
    error = np.square(encoded(1.2 * photo) - encoded(photo)).mean()
    spoiled = truth.radiance.copy()
    spoiled[~mask] = 0.9
    found = rerendered(replace(truth, radiance=spoiled), brighter, mask, VertexRenderer(), 2)
    assert found == pytest.approx(-10 * math.log10(error), abs=0.01)


def test_noise_of_the_renderer_does_not_count(caster: MitsubaRenderer) -> None:
    """Eight light paths a pixel look bad, but their PSNR against many is that of a good picture."""
    scene = answer(48).scene()
    few, many = (drawn_twice(scene, caster, samples) for samples in (16, 2048))
    few, true = encoded(few), encoded(many.mean(0))
    assert decibels(np.stack([few[0], few[0]]), true) < 34
    assert decibels(few, true) > 40


def test_similarity_falls_with_structure() -> None:
    random = np.random.default_rng(0)
    picture = random.uniform(size=(40, 40, 3))
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    beside = picture + (~mask[..., None]) * 0.5
    assert similarity(beside, picture, mask) == pytest.approx(1)
    assert similarity(random.uniform(size=(40, 40, 3)), picture, mask) < 0.2


def test_a_scene_under_another_light(perfect: Reconstruction) -> None:
    light = relighting(8)[1]
    scene = under(perfect.scene(), light)
    assert torch.equal(scene.environment.radiance[0], torch.from_numpy(light))
    assert scene.material is not None and len(scene) == 1


# Tables and files


def scores(median: float, tone: float = 20.0, albedo: float = 0.1) -> dict[str, Any]:
    distances = {"median": median, "mean": median, "metric_median": 2.0, "metric_mean": 2.0}
    return {
        "geometry": {**distances, "scale": 1, "camera": -0.1},
        "landmarks": 0.02,
        "albedo": {
            "error": albedo,
            "flat": 0.2,
            "hue": 0.05,
            "flat_hue": 0.1,
            "gain": 1,
            "tone": tone,
            "true_tone": 30.0,
            "pixels": 9,
        },
        "light": {"diffuse": 0.1, "glossy": 0.2},
        "relit": {"psnr": 25.0, "ssim": 0.9, "gain": 1, "each": [25.0]},
        "psnr": 35.0,
    }


def scored(heads: str, tone: str, mean_face: float, final: float, angle: float = 20.0) -> dict[str, Any]:
    rows = {MEAN_FACE: scores(mean_face), "stage 3": scores(final, angle)}
    return {"heads": heads, "tone": tone, "reported": True, "seconds": 30.0, "rows": rows}


def test_tables() -> None:
    cases = {
        "a": scored("ict", "light", 2.0, 1.0),
        "b": scored("ict", "dark", 1.0, 1.5, 50.0),
        "c": scored("makehuman", "dark", 2.0, 0.5),
        "d": {"heads": "ict", "tone": "dark", "reported": True, "error": "no face"},
    }
    text = tables(cases)
    assert text.startswith("d failed: no face")
    ict, makehuman, everything, tones, single = (
        part.splitlines() for part in text.split("\n\n") if part.startswith("|")
    )
    assert "ict heads, means of 2 photos" in text and "all heads, means of 3 photos" in text
    assert ict[3].startswith("| stage 3 | 1.25 | 1.25 | 2.00 | 2.00 | 10.0 | 2.0 | 0.100 | 0.050 | 15.0 |")
    assert ict[3].endswith("| +50 % |") and ict[2].startswith("| mean face | 1.50 |")
    assert ict[4].startswith("| flat colour | - |") and "| 0.200 | 0.100 |" in ict[4]
    assert makehuman[3].startswith("| stage 3 | 0.50 |") and makehuman[3].endswith("| -75 % |")
    assert everything[3].startswith("| stage 3 | 1.00 |")
    assert tones[3] == "| dark | 2 | 0.100 | 0.200 | 15.0 | +5.0 | 25.0 |"
    assert single[2] == "| a | ict | light | 1.00 | 2.00 | -10.0 | 0.100 | 0.200 | 20 (30) | 25.0 | 35.0 | 30 |"


def test_table_of_photos() -> None:
    photos = {
        "a.jpg": {"psnr": 34.0, "psnrOval": 30.0, "seconds": 30.0},
        "b.jpg": {"psnr": 36.0, "psnrOval": 32.0, "seconds": 40.0},
        "c.jpg": {"error": "no face"},
    }
    lines = photo_table(photos).splitlines()
    assert lines[-1] == "| mean | 35.0 | 31.0 | 35 |" and "no face" in lines[-2]


def test_results_are_kept_and_belong_to_their_settings(tmp_path: Path) -> None:
    path = tmp_path / "fidelity.json"
    results = Results.read(path)
    results.made_with(["seed=1"])
    results.keep(results.cases, "a", {"reported": True})
    again = Results.read(path)
    assert again.cases == {"a": {"reported": True}}
    again.made_with(["seed=1"])
    with pytest.raises(NextFaceError, match="made with --config seed=1"):
        again.made_with([])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "x"], "no ground-truth photo x .* there are a, b"),
        ([], "no ground-truth photos in .* Make some"),
    ],
)
def test_photos_that_are_not_there(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab" if words else "":
        (tmp_path / f"{name}.npz").touch()
    out = ["--truth", str(tmp_path), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["fidelity", *out, *words])
    with pytest.raises(SystemExit, match=said):
        fidelity.main()


def test_the_command_runs_scores_and_does_nothing_twice(
    perfect: Reconstruction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lights = np.stack(relighting_environments())
    scene = perfect.scene()
    with torch.no_grad():
        relit = [VertexRenderer().render(under(scene, light), 1, 0)[0, ..., :3].numpy() for light in lights]
    photo = tmp_path / "truth" / "known.jpg"
    photo.parent.mkdir()
    known = replace(truth_of(perfect), relit=np.stack(relit), photo=photo, exposure=1.0)
    known = replace(known, radiance=known.radiance * EXPOSURE)
    known.save(photo.parent)
    over = known.radiance + (1 - known.coverage[..., None]) * 0.3
    Image.fromarray(np.round(linear_to_srgb(over.clip(0, 1)) * 255).astype(np.uint8)).save(photo, quality=92)
    tiny = ["renderer=vertex", "iterStep1=12", "iterStep2=3", "iterStep3=2", "maxResolution=64", "rtSamples=4"]
    words = ["fidelity", "--truth", photo.parent, "--output", tmp_path / "out", "--set", "all", "--config"]
    monkeypatch.setattr(sys, "argv", [*map(str, words), *tiny, "textureResolution=256"])
    fidelity.main()
    said = capsys.readouterr().out
    assert "known: " in said and "| stage 3 |" in said and "| mean face |" in said
    kept = json.loads((tmp_path / "out" / "fidelity.json").read_text())["cases"]["known"]
    assert list(kept["rows"]) == [MEAN_FACE, "stage 1", "stage 2", "stage 3"]
    final = kept["rows"]["stage 3"]
    assert final["geometry"]["median"] < 2 and final["landmarks"] < 0.1 and final["psnr"] > 15
    assert final["relit"]["psnr"] > 15 and final["light"]["diffuse"] < 0.5

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("it was done already")

    monkeypatch.setattr(fidelity, "reconstruct_with", fails)
    fidelity.main()
    assert "| stage 3 |" in capsys.readouterr().out
