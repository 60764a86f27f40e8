"""A validator that says what is wrong with a face model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PORTRAIT, TINY
from fixture_model import Sheet, make_sheet
from puppet import Puppet, make_puppet

from nextface import Config, reconstruct
from nextface.errors import ModelError
from nextface.models.open_head import load_open_head
from nextface.models.validation import check_model, problems
from nextface.surfaces.uv_layout import into_unit_square


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    return make_sheet()


@pytest.fixture(scope="module")
def puppet() -> Puppet:
    return make_puppet()


def test_sound_models_are_sound(sheet: Sheet, puppet: Puppet) -> None:
    for model in (load_open_head(), sheet, puppet):
        assert problems(model) == []


def prior_of(sheet: Sheet, **changes: float) -> Sheet:
    broken = replace(sheet)
    values = {name: getattr(sheet.expression_prior, name).clone() for name in changes}
    for name, value in changes.items():
        values[name][2] = value
    broken.expression_prior = replace(sheet.expression_prior, **values)
    return broken


def test_faults_of_the_prior_are_told(sheet: Sheet) -> None:
    assert "spread of mood 2" in problems(prior_of(sheet, spread=0.0))[0]
    assert "bounds of mood 2" in problems(prior_of(sheet, low=4.0))[0]
    assert "not finite" in problems(prior_of(sheet, mean=float("nan")))[0]
    assert "one name" in problems(replace(sheet, expression_names=("a", "b", "c", "d", "a")))[0]
    assert "float [3]" in problems(replace(sheet, expression_names=("a", "b", "c")))[0]


def test_faults_of_the_surface_are_told(sheet: Sheet) -> None:
    triangles = sheet.triangles
    turned = triangles.clone()
    turned[7] = turned[7].flip(0)
    one, other = triangles[0, :2].tolist()
    fan = torch.tensor([[one, other, 900], [other, one, 901], [one, other, 902]])
    cases = {
        "flipped": turned,
        "clockwise": triangles.flip(1),
        "manifold": torch.cat([triangles, fan]),
        "vertex twice": torch.cat([triangles, triangles[:1, [0, 0, 1]]]),
        "there are": triangles + 1,
        "int64": triangles.int(),
    }
    for word, broken in cases.items():
        assert any(word in fault for fault in problems(replace(sheet, triangles=broken))), word
    assert "millimetres" in problems(replace(sheet, mean=sheet.mean / 1000))[0]
    hole = sheet.mean.clone()
    hole[5, 1] = float("nan")
    assert any("not finite" in fault for fault in problems(replace(sheet, mean=hole)))


def test_faults_of_uvs_mirror_and_regions_are_told(puppet: Puppet) -> None:
    assert puppet.uvs is not None and puppet.uv_triangles is not None
    count = len(puppet.sheet.mean)
    folded = (puppet.uvs - torch.tensor([0.7, 0])).abs()
    cases = {
        "neither": replace(puppet, uvs=None),
        "into_unit_square": replace(puppet, uvs=puppet.uvs + 1),
        "charts overlap in": replace(puppet, uvs=folded),
        "uv_triangles goes": replace(puppet, uv_triangles=puppet.uv_triangles + len(puppet.uvs)),
        "map of pairs": replace(puppet, mirror=torch.arange(count).roll(1)),
        "mirror images in x": replace(puppet, mirror=torch.arange(count)),
        "region skin": replace(puppet, regions={"skin": torch.zeros(3, dtype=torch.bool)}),
        "calls itself linear": replace(puppet, linear=True),
    }
    for word, broken in cases.items():
        assert any(word in fault for fault in problems(broken)), word
    colour = puppet.sheet.colour.clone()
    colour[0, 0] = 1.2
    assert "diffuse leaves" in problems(replace(puppet, sheet=replace(puppet.sheet, colour=colour)))[0]
    heavy = replace(puppet.embedding, barycentric=puppet.embedding.barycentric * 2)
    assert "sum to 1" in problems(replace(puppet, embedding=heavy))[0]


def test_layouts_of_several_tiles_come_into_one_map() -> None:
    tiles = torch.tensor([[0.1, 0.2], [0.9, 0.8], [1.1, 0.2], [1.9, 0.8]])
    moved = into_unit_square(tiles)
    assert torch.allclose(moved, tiles / 2)
    assert into_unit_square(moved) is moved
    assert torch.allclose(
        into_unit_square(torch.tensor([[-0.5, 0.0], [0.5, 1.0]])), torch.tensor([[0.25, 0], [0.75, 0.5]])
    )


def test_a_run_refuses_a_model_that_contradicts_itself(sheet: Sheet, tmp_path: Path) -> None:
    broken = replace(sheet, triangles=sheet.triangles + 1)
    with pytest.raises(ModelError, match=r"sheet cannot be used:\n- triangles goes"):
        reconstruct(PORTRAIT, tmp_path, Config(renderer="vertex", **TINY), model=broken)  # type: ignore[arg-type]
    with pytest.raises(ModelError):
        check_model(broken)
