"""The face model's protocol is one: another model goes through the same stages with every backend.

The model of `fixture_model` has another topology than the shipped one, and no part that may be missing.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import PORTRAIT, SMALL
from fixture_model import Sheet, make_sheet

from nextface import Config, reconstruct
from nextface.errors import CheckpointError
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.landmarks import MEDIAPIPE
from nextface.landmarks.embedding.cache import load_or_compute
from nextface.models.face_model import LandmarkEmbedding
from nextface.models.open_head import load_open_head
from nextface.person.checkpoint import Checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.system.paths import cache_folder

BACKENDS = ("vertex", "mitsuba")
LARGEST_LANDMARK_ERROR = 0.03  # of the face's size, median


@pytest.fixture(scope="module")
def sheet() -> Sheet:
    return make_sheet()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache for landmark embeddings; what is known about LLVM is kept, to save time."""
    folder = tmp_path_factory.mktemp("cache")
    known = cache_folder() / "probes.json"
    if known.is_file():
        (folder / "nextface").mkdir()
        shutil.copy(known, folder / "nextface")
    return folder


@dataclass(frozen=True)
class Fitted:
    """A run with the fixture model."""

    result: Reconstruction
    folder: Path
    embedding: LandmarkEmbedding


@pytest.fixture(scope="module", params=BACKENDS)
def fitted(
    request: pytest.FixtureRequest, sheet: Sheet, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Fitted:
    config = Config(renderer=request.param, threads=1, report=False, **SMALL)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        result = reconstruct(
            PORTRAIT, tmp_path_factory.mktemp(request.param), config, model=sheet, skip_stages=frozenset({3})
        )
        embedding = load_or_compute(sheet, "mediapipe")
    assert result.folder is not None
    return Fitted(result, result.folder, embedding)


def test_the_fixture_lacks_what_may_be_missing(sheet: Sheet) -> None:
    head = load_open_head()
    assert len(sheet.mean) != len(head.mean)
    assert len(sheet.triangles) != len(head.triangles)
    assert sheet.uvs is sheet.uv_triangles is sheet.mirror is sheet.landmarks("mediapipe") is None
    assert sheet.albedo_size == 0
    assert not sheet.regions
    mesh = trimesh.Trimesh(sheet.mean.numpy(), sheet.triangles.numpy(), process=False)
    assert not mesh.is_watertight
    outward = (mesh.vertex_normals * mesh.vertices).sum(1) > 0
    assert outward.mean() > 0.99


def test_landmarks_were_found_on_its_surface(fitted: Fitted, sheet: Sheet) -> None:
    """Against the open head's own points, which were found on another mesh of the same surface."""
    assert fitted.embedding.indices.tolist() == list(range(MEDIAPIPE.count))
    head = load_open_head()
    known = head.landmarks("mediapipe")
    assert known is not None
    there = landmark_points(head.mean[None], head, known)[0]
    here = landmark_points(sheet.mean[None], sheet, fitted.embedding)[0]
    plain = ~known.contour & ~fitted.embedding.contour
    gaps = (here - there).norm(dim=1)[plain]
    assert gaps.median() < 2.0  # mm
    assert gaps.quantile(0.95) < 6.0


def test_stages_1_and_2_fit_it(fitted: Fitted, sheet: Sheet) -> None:
    parameters = fitted.result.parameters
    assert parameters.is_finite()
    assert parameters.identity.shape == (1, sheet.identity_size)
    assert parameters.expression.shape == (1, len(sheet.expression_names))
    assert parameters.albedo.shape == (1, 0)
    prior = sheet.expression_prior
    assert (parameters.expression >= prior.low).all() and (parameters.expression <= prior.high).all()
    coarse = Checkpoint.load(fitted.folder / "checkpoints" / "stage1.npz", sheet).parameters
    assert (coarse.expression < 0).any(), "its expressions are not confined to the open head's range"
    assert parameters.identity.abs().max() < 5
    metrics = json.loads((fitted.folder / "metrics.json").read_text())
    assert set(metrics["iterations"]) == {"stage1", "stage2"}
    assert metrics["psnr"] > 15


def test_its_landmarks_meet_the_photos(fitted: Fitted) -> None:
    from nextface.landmarks import face_width
    from nextface.landmarks.detection import detect
    from nextface.photos.photo import load_photo

    seen = detect(load_photo(PORTRAIT)).landmarks.transformed(fitted.result.frames[0].photo_to_image)
    points = landmark_points(fitted.result.vertices(), fitted.result.model, fitted.embedding)
    projected = fitted.result.camera().project(points)[0].numpy()
    inner = ~fitted.embedding.contour.numpy()
    offsets = np.linalg.norm(projected - seen.points[fitted.embedding.indices.numpy()], axis=1)[inner]
    assert np.median(offsets) < LARGEST_LANDMARK_ERROR * face_width(seen)


def test_its_results_are_written_without_maps(fitted: Fitted, sheet: Sheet) -> None:
    names = {path.name for path in fitted.folder.iterdir()}
    assert {"render_0.png", "reconstruction_0.png", "mesh0.obj", "meshNeutral0.obj", "envMap_0.exr"} <= names
    assert not [name for name in names if "Map_0" in name and not name.startswith("envMap")]
    assert "visibility_0.png" not in names
    text = (fitted.folder / "mesh0.obj").read_text()
    assert "\nvt " not in text and "mtllib" not in text
    mesh = trimesh.load(fitted.folder / "mesh0.obj", process=False)
    assert mesh.faces.shape == tuple(sheet.triangles.shape)
    assert np.allclose(mesh.vertices, fitted.result.vertices()[0].numpy(), atol=1e-3)
    described = json.loads((fitted.folder / "scene_0.json").read_text())
    assert described["model"]["name"] == "sheet"
    assert described["model"]["albedo"] == []
    assert all((fitted.folder / name).is_file() for name in described["files"].values())


def test_it_is_refined_at_vertices_too(fitted: Fitted, sheet: Sheet, cache: Path, tmp_path: Path) -> None:
    """Stage 3 works at the vertices of a model without UVs, and goes on from the checkpoint of stage 2."""
    backend = fitted.result.metrics["backend"]
    config = Config(renderer=backend, threads=1, report=False, **SMALL)  # type: ignore[arg-type]
    before = fitted.folder / "checkpoints" / "stage2.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        refined = reconstruct(PORTRAIT, tmp_path, config, model=sheet, checkpoint=before)
    assert refined.material is not None
    assert refined.material.diffuse.shape == (1, len(sheet.mean), 3)
    assert torch.equal(refined.parameters.rotation, fitted.result.parameters.rotation)
    assert not (tmp_path / PORTRAIT.stem / "diffuseMap_0.png").exists()
    assert refined.metrics["psnr"] > fitted.result.metrics["psnr"]


def test_its_checkpoints_and_the_open_models_do_not_mix(
    fitted: Fitted, finished: Path, sheet: Sheet, tiny_config: Config, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"'sheet'.*'open'"):
        reconstruct(PORTRAIT, tmp_path, tiny_config, checkpoint=fitted.folder / "checkpoints" / "stage2.npz")
    with pytest.raises(CheckpointError, match=r"'open'.*'sheet'"):
        reconstruct(
            PORTRAIT, tmp_path, tiny_config, model=sheet, checkpoint=finished / "checkpoints" / "stage2.npz"
        )
