"""The head as engines hold it: parts, tangents, reflectance, against closed forms and sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from nextface.export.head.parts import head_parts
from nextface.export.head.surface import INDEX_OF_REFRACTION, MEAN_GRAZING, exported_maps, under_fresnel
from nextface.export.head.tangents import corner_tangents
from nextface.export.saved.result import SavedResult
from nextface.models import create as create_model
from nextface.models.bases import model_bases
from nextface.scene import Material
from nextface.scene.baking import texel_points
from nextface.scene.reflectance import SPECULAR_RANGE


def test_every_triangle_is_in_one_part() -> None:
    model = create_model("open")
    parts = head_parts(model, model_bases(model))
    whole = torch.cat([part.vertex[part.triangles] for part in parts])
    assert torch.equal(whole.sort(0).values, model.triangles.sort(0).values)
    for part in parts:
        assert len(part.triangles.unique()) == len(part.vertex), "a part has no corners of others"


@pytest.mark.parametrize(("mirrored", "sign"), [(False, 1), (True, -1)])
def test_tangents_of_a_turned_plane(mirrored: bool, sign: int) -> None:
    """The map lies on a plane; mirrored, u runs the other way, and the bitangent is told by w."""
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.3, 0.2], [0.3, 0, -0.5], [-0.2, 0.5, 0]]))
    uvs = torch.tensor([[0.1, 0.1], [0.6, 0.1], [0.6, 0.9], [0.1, 0.9]])
    flat = torch.cat([uvs * torch.tensor([-1.0 if mirrored else 1.0, 1.0]), torch.zeros(4, 1)], 1)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    normals = (turn @ torch.tensor([0, 0, 1.0])).expand(4, 3)
    tangents = corner_tangents(flat @ turn.T, normals, uvs, triangles)
    torch.testing.assert_close(tangents[:, :3], ((turn @ torch.eye(3)[0]) * sign).expand(4, 3))
    assert (tangents[:, 3] == sign).all()


def test_corners_without_area_in_the_map_have_some_tangent() -> None:
    places = torch.tensor([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    normals = torch.tensor([[0, 0, 1.0]]).expand(3, 3)
    tangents = corner_tangents(places, normals, torch.zeros(3, 2), torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(tangents[:, :3].norm(dim=1), torch.ones(3))
    assert tangents[:, 2].abs().max() < 1e-6


def test_the_mean_of_one_less_fresnel_by_sampling() -> None:
    """Directions by Malley's method: cosine-weighted, as `_mean_grazing` integrates by quadrature."""
    random = np.random.default_rng(1)

    def directions() -> np.ndarray:
        squared, azimuth = random.random(400_000), 2 * math.pi * random.random(400_000)
        sine = np.sqrt(squared)
        return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), np.sqrt(1 - squared)], 1)

    view, light = directions(), directions()
    half = view + light
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    grazing = (1 - (view * half).sum(1)) ** 5
    assert grazing.mean() == pytest.approx(MEAN_GRAZING, abs=4 * grazing.std() / math.sqrt(len(grazing)))
    f0 = 0.05
    material = Material(torch.full((1, 1, 3), 0.4), torch.full((1, 1, 1), f0), torch.ones(1, 1, 1))
    drawn = under_fresnel(material).diffuse * float((1 - f0 - (1 - f0) * grazing).mean())
    torch.testing.assert_close(drawn, material.diffuse, rtol=1e-3, atol=0)


def test_the_index_of_refraction_has_the_largest_f0() -> None:
    ratio = (INDEX_OF_REFRACTION - 1) / (INDEX_OF_REFRACTION + 1)
    assert ratio**2 == pytest.approx(SPECULAR_RANGE[1])


@pytest.mark.parametrize("resolution", [256, 1024])
def test_maps_of_other_sizes_go_on_beyond_charts(result: SavedResult, resolution: int) -> None:
    """Near the charts, texels outside them hold what the charts hold at their borders."""
    maps = exported_maps(result.reconstruction, resolution)
    assert maps is not None and maps.diffuse.shape == (1, resolution, resolution, 3)
    mesh = result.reconstruction.scene().mesh
    covered = texel_points(mesh, resolution).covered
    far, nearest = distance_transform_edt(~covered.numpy(), return_indices=True)
    rim = (far > 0) & (far < 4)
    diffuse = maps.diffuse[0].numpy()
    border = diffuse[tuple(nearest[:, rim])]
    unlike = np.abs(diffuse[rim] - border).max(1)
    assert np.median(unlike) < 0.01 and unlike.mean() < 0.03, "a background of 0 would be 0.4 away"
