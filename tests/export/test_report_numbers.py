"""What a report's 3D view draws with: shadows and lobe against closed forms, numbers that survive packing."""

from __future__ import annotations

import gzip
import math
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from simple_scenes import camera

from nextface.export.report.curves import BOTTOM, LEFT, RIGHT, TOP, loss_curve
from nextface.export.report.packing import packed, stepped
from nextface.export.report.shadows import BANDS, bounced_transfer, irradiance_transfer
from nextface.scene import Environment, Material, Mesh, Scene
from nextface.scene.lighting import cosine_kernel, scale_bands, sh_basis
from nextface.scene.prefiltered import TABLE_SIZE, directional_albedo, split_sum
from nextface.scene.reflectance import ROUGHNESS_RANGE
from renderers.ray_casting import cast_rays


def lit(mesh: trimesh.Trimesh) -> Scene:
    """A scene of a mesh; its material and light are nobody's business here."""
    vertices = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)[None]
    shape = Mesh.from_vertices(vertices, torch.tensor(np.asarray(mesh.faces), dtype=torch.int64))
    nothing = torch.zeros(1, vertices.shape[1], 1)
    matt = Material(nothing.expand(-1, -1, 3), nothing, nothing + 1)
    return Scene(shape, matt, Environment(torch.ones(1, 1, 3)), camera())


def test_what_is_convex_shadows_nothing() -> None:
    """Each band of the light arrives times the clamped cosine's factor."""
    scene = lit(trimesh.creation.icosphere(subdivisions=3, radius=80))
    found = irradiance_transfer(scene, cast_rays(scene))
    factors = scale_bands(torch.eye(BANDS**2)[None], cosine_kernel(BANDS))[0]
    assert torch.allclose(found, sh_basis(scene.mesh.normals[0], BANDS) @ factors, atol=0.06)


def test_what_lies_inside_gets_no_light() -> None:
    inner = trimesh.creation.icosphere(subdivisions=2, radius=20)
    outer = trimesh.creation.icosphere(subdivisions=3, radius=80)
    scene = lit(trimesh.util.concatenate([inner, outer]))
    found = irradiance_transfer(scene, cast_rays(scene))
    assert not found[: len(inner.vertices)].any()
    assert found[len(inner.vertices) :, 0].min() > 0.9 * math.sqrt(math.pi) / 2


def test_light_that_bounces_in_a_bowl() -> None:
    """Each point of a hollow half ball sees the ball's other half and the sky alike, however it is turned."""
    solid = trimesh.creation.icosphere(subdivisions=4, radius=80)
    deep = solid.faces[(solid.vertices[solid.faces][:, :, 1] < 1).all(1)][:, ::-1].copy()
    scene = lit(trimesh.Trimesh(solid.vertices, deep, process=False))
    scene = replace(scene, mesh=replace(scene.mesh, normals=-scene.mesh.vertices / 80))
    grey = scene.with_material(replace(scene.material, diffuse=torch.full_like(scene.material.diffuse, 0.4)))
    found = bounced_transfer(grey, 1)[:, 0] * math.sqrt(4 * math.pi)  # under even light of radiance 1
    nothing = bounced_transfer(scene, 1)[:, 0] * math.sqrt(4 * math.pi)  # by what glints alone
    bottom = scene.mesh.vertices[0, :, 1] < -20
    assert float((found - nothing)[bottom].mean()) == pytest.approx(math.pi * 0.4 / 4, rel=0.04)
    assert float(nothing[bottom].mean()) < 0.1


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
def test_the_split_sum_is_right_under_even_light(roughness: float) -> None:
    table, zonal = split_sum(5)
    row = round((roughness - ROUGHNESS_RANGE[0]) / (ROUGHNESS_RANGE[1] - ROUGHNESS_RANGE[0]) * (TABLE_SIZE - 1))
    exact = ROUGHNESS_RANGE[0] + row * (ROUGHNESS_RANGE[1] - ROUGHNESS_RANGE[0]) / (TABLE_SIZE - 1)
    cosine = torch.linspace(0, 1, TABLE_SIZE, dtype=torch.float64)[8:] ** 2
    plain, grazing = directional_albedo(exact, cosine.clamp(max=1 - 1e-6))
    assert torch.allclose(table[row, 8:, 2], plain, rtol=0.01)
    assert torch.allclose(table[row, 8:, 3], grazing, rtol=0.03, atol=1e-4)
    assert zonal[row, 0] == 1
    assert (zonal[row].diff() < 0).all()  # a lobe passes what is broad, and less the finer it gets


def test_a_rough_lobe_leans_to_the_normal() -> None:
    table, _ = split_sum(3)
    column = TABLE_SIZE // 2
    assert table[0, column, 0] > 0.98  # nearly a mirror
    assert table[0, column, 1].abs() < 0.05
    assert table[-1, column, 1] > 0.2


def test_numbers_come_back_from_the_block() -> None:
    rng = np.random.default_rng(1)
    places, step = stepped(rng.normal(0, 50, (7, 3)), np.int16, 0.005)
    triangles = np.arange(9, dtype=np.uint32)
    content = packed({"places": places, "triangles": triangles}, {"places": step})
    block = gzip.decompress(b64decode(content.block))
    told = content.arrays["places"]
    assert told["type"] == "Int16Array"
    back = np.frombuffer(block, "<i2", told["length"], told["offset"]) * told["step"]
    assert np.abs(back.reshape(7, 3) - places * step).max() == 0
    told = content.arrays["triangles"]
    assert told["offset"] % 8 == 0
    assert (np.frombuffer(block, "<u4", told["length"], told["offset"]) == triangles).all()


def test_steps_hold_the_largest_value_and_are_not_too_fine() -> None:
    values = np.array([-1000.0, 3.0])
    steps, size = stepped(values, np.int16, 0.005)
    assert np.abs(steps * size - values).max() <= size / 2
    assert stepped(np.array([0.1]), np.int16, 0.005) == (np.array([20], np.int16), 0.005)
    assert stepped(np.zeros(0), np.int8)[0].size == 0


def test_a_curve_falls_within_its_axes() -> None:
    curve = loss_curve("Landmarks", [100.0, 10.0, 1.0])
    points = [tuple(map(float, point.split(","))) for point in curve.points.split()]
    assert points == [(LEFT, TOP), ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2), (RIGHT, BOTTOM)]
    assert (curve.first, curve.last, curve.count) == ("100", "1", 3)
    assert len(loss_curve("long", [1.0] * 10_000).points.split()) < 500
    assert loss_curve("one", [0.0]).count == 1
