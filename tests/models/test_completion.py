"""What a model's files lack comes from the embedded head: correspondence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_heads import MadeHead, around, make_head
from typer.testing import CliRunner

from nextface.cli import app
from nextface.completion.completed_head import CompletedHead
from nextface.completion.completing import complete
from nextface.completion.conversion import within
from nextface.models import create
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.linear_head import LinearHead
from nextface.models.open_head import load_open_head
from nextface.models.validation import problems
from nextface.surfaces.mirror import mirror_image
from nextface.surfaces.orientation import millimetres, outward

POINTS = 6000  # of the made head's surface


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made() -> MadeHead:
    return make_head(POINTS, eyes=True)


@pytest.fixture(scope="module")
def completed(made: MadeHead, cache: Path) -> CompletedHead:
    """A model that brings shapes and nothing else, made of the open head's surface: the truth is known."""
    jaw = torch.from_numpy(made.expression("jawOpen"))[None]
    bare = LinearHead(
        torch.from_numpy(made.vertices),
        torch.from_numpy(made.identity(4)),
        jaw,
        "bare",
        ("jawOpen",),
        ExpressionPrior.blendshapes(1),
        torch.from_numpy(made.triangles),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        found = complete(bare)
    assert isinstance(found, CompletedHead)
    return found


def test_everything_is_there(completed: CompletedHead) -> None:
    assert problems(completed) == []
    assert completed.albedo_size == load_open_head().albedo_size
    assert "UVs (an unwrap)" in completed.carried
    assert completed.regions["lips"].any() and completed.regions["scalp"].any()


def test_regions_and_colours_lie_where_they_do_on_the_head(completed: CompletedHead, made: MadeHead) -> None:
    head = load_open_head()
    for name in ("lips", "nose", "ears", "forehead"):
        true = made.carried(head.regions[name][:, None].float())[:, 0] > 0.5
        ours = completed.regions[name].numpy()
        assert (true & ours).sum() > 0.6 * (true | ours).sum(), name
    surface = made.parts[0]
    seen = completed.reflectance(torch.zeros(1, completed.albedo_size)).diffuse[0, :surface].numpy()
    assert np.median(np.abs(seen - made.diffuse()[:surface])) < 0.01


def test_landmarks_lie_where_they_do_on_the_head(completed: CompletedHead) -> None:
    head = load_open_head()
    for detector in ("mediapipe", "fan"):
        known, ours = head.landmarks(detector), completed.landmarks(detector)
        assert known is not None and ours is not None
        there = (head.mean[head.triangles[known.triangles]] * known.barycentric[..., None]).sum(1)
        vertices = completed.vertices(torch.zeros(1, 4), torch.zeros(1, 1))[0]
        here = (vertices[completed.triangles[ours.triangles]] * ours.barycentric[..., None]).sum(1)
        gap = (here - there).norm(dim=1)[~known.contour]
        assert gap.median() < 2.5 and gap.quantile(0.9) < 6.0  # mm; vertices lie 4 mm apart


def test_charts_that_overlap_are_unwrapped_anew(
    completed: CompletedHead, made: MadeHead, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert isinstance(completed.own, LinearHead)
    uvs = torch.from_numpy(around(made.vertices)).float()  # the eyeballs lie over the skin
    overlapping = replace(completed.own, uvs=uvs, uv_triangles=completed.triangles)
    assert "charts overlap" in " ".join(problems(overlapping))
    assert "overlap" not in " ".join(problems(overlapping, of_files=True))
    found = complete(overlapping)
    assert isinstance(found, CompletedHead)
    assert "UVs (an unwrap: its own charts overlap)" in found.carried and problems(found) == []


def test_what_a_bound_takes_the_others_make_up_for() -> None:
    """At x = 1 the derivative by y is (x - 2) + 2 (y + 1): it is 0 at y = -0.5, and not where y was."""
    system, wanted = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double(), torch.tensor([2.0, -1.0]).double()
    infinite = torch.tensor([torch.inf, torch.inf]).double()
    found = within(system, wanted, -infinite, torch.tensor([1.0, torch.inf]).double())
    assert torch.allclose(found, torch.tensor([1.0, -0.5]).double())
    assert torch.allclose(within(system, wanted, -infinite, infinite), wanted)


def test_mirror_images_and_units() -> None:
    head = load_open_head()
    assert head.mirror is not None
    found = mirror_image(head.mean.numpy())
    assert found is not None and (found == head.mirror.numpy()).mean() > 0.98
    assert mirror_image(head.mean.numpy() + np.array([5.0, 0, 0])) is None
    for unit in (1000.0, 10.0, 1.0, 0.001):
        assert millimetres(head.mean.numpy() / unit) == unit
    triangles = head.triangles.numpy()
    assert np.array_equal(outward(head.mean.numpy(), triangles), triangles)
    assert np.array_equal(outward(head.mean.numpy(), triangles[:, ::-1]), triangles)


def test_an_unknown_model_is_named() -> None:
    refused = CliRunner().invoke(app, ["model", "show", "waxwork"])
    assert refused.exit_code == 2 and "choose one of: basel2009" in refused.output
    assert create("open").name == "open"
