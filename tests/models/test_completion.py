"""What a model's files lack comes from the embedded head: correspondence, and a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, TINY, settings
from made_heads import MadeHead, make_head
from test_gnm import gnm_arrays
from typer.testing import CliRunner

from nextface.cli import app
from nextface.completion.completed_head import CompletedHead
from nextface.completion.completing import complete
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


def test_a_run_through_the_command_line(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GNM: joints, the engine's skin, a nonlinear model, through three stages; then drawn and converted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    files, output = tmp_path / "files", tmp_path / "out"
    files.mkdir()
    np.savez(files / "gnm_head.npz", **gnm_arrays())  # type: ignore[arg-type]
    words = ["reconstruct", str(PORTRAIT), "--output", str(output), "--renderer", "vertex", *settings(TINY)]
    run = CliRunner().invoke(app, [*words, "--set", "morphableModel=gnm", "--set", f"path={files}"])
    assert run.exit_code == 0, run.output
    result = output / PORTRAIT.stem
    assert json.loads((result / "scene_0.json").read_text())["model"]["name"] == "gnm"
    assert (result / "diffuseMap_0.png").is_file()
    picture = tmp_path / "gnm.png"
    shown = CliRunner().invoke(app, ["model", "show", "gnm", "--output", str(picture), "--models", str(files)])
    assert shown.exit_code == 0 and picture.stat().st_size > 50_000, shown.output
    carried = CliRunner().invoke(app, ["convert", str(result), "--to", "open", "--models", str(files)])
    assert carried.exit_code == 0, carried.output
    told = json.loads((result / "convert" / "open" / "coefficients_0.json").read_text())
    assert (told["model"], told["from"]) == ("open", "gnm")
    assert told["residualMm"]["median"] < 3.0


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
