"""Placing detector points on a model: the shipped embedding, finding known points again, and the cache."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nextface.errors import FaceNotFoundError, MissingPartError
from nextface.landmarks.embedding import cache
from nextface.landmarks.embedding.cache import arrays, load_or_compute
from nextface.landmarks.embedding.compute import compute_embedding
from nextface.landmarks.topology import IBUG68, MEDIAPIPE, TOPOLOGIES
from nextface.models.face_model import LandmarkEmbedding
from nextface.models.open_head import LANDMARK_ERRORS, LANDMARKS, OpenHead, load_open_head
from nextface.scene import Scene
from renderers.vertex.renderer import VertexRenderer

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


class Unlabelled(OpenHead):
    """The open head as it would be without the embedding that is shipped with it."""

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        return None


@pytest.fixture(scope="module")
def model() -> OpenHead:
    return load_open_head()


@pytest.fixture(scope="module")
def unlabelled(model: OpenHead) -> OpenHead:
    given = [item.name for item in fields(model) if item.init]
    return Unlabelled(**{name: getattr(model, name) for name in given})


def draw(scene: Scene) -> Tensor:
    return VertexRenderer().render(scene, 1, 0)


def shipped(model: OpenHead, detector: str) -> LandmarkEmbedding:
    embedding = model.landmarks(detector)
    assert embedding is not None
    return embedding


def places(model: OpenHead, embedding: LandmarkEmbedding, **expression: float) -> Tensor:
    """Points [P, 3] on the mean head with an expression, mm."""
    weights = torch.tensor([[expression.get(name, 0.0) for name in model.expression_names]])
    vertices = model.vertices(torch.zeros(1, model.identity_size), weights)[0]
    return (vertices[model.triangles[embedding.triangles]] * embedding.barycentric[..., None]).sum(1)


@pytest.mark.parametrize("detector", ["mediapipe", "fan"])
def test_shipped_embedding_belongs_to_the_shipped_head(model: OpenHead, detector: str) -> None:
    """If this fails, the head was rebuilt without running tools/embed_open_head.py."""
    embedding = shipped(model, detector)
    topology = TOPOLOGIES[detector]
    with np.load(LANDMARKS, allow_pickle=False) as stored:
        found_for = torch.from_numpy(stored[f"{detector}_mean_positions"])
    assert float((places(model, embedding) - found_for).norm(dim=1).max()) < 0.2
    assert embedding.indices.tolist() == list(range(topology.count))
    assert embedding.contour.nonzero()[:, 0].tolist() == sorted(topology.contour)
    assert torch.allclose(embedding.barycentric.sum(1), torch.ones(topology.count), atol=1e-5)
    assert float(embedding.barycentric.min()) >= 0
    assert float(embedding.weights.min()) >= 0 and float(embedding.weights.max()) <= 1


def test_shipped_errors_belong_to_the_shipped_embedding(model: OpenHead) -> None:
    """If this fails, landmarks were placed anew without running tools/measure_landmark_errors.py."""
    embedding = shipped(model, "mediapipe")
    with np.load(LANDMARK_ERRORS, allow_pickle=False) as stored:
        measured_at = torch.from_numpy(stored["mediapipe_mean_positions"])
    assert float((places(model, embedding) - measured_at).norm(dim=1).max()) < 0.2
    errors = embedding.errors
    assert errors is not None
    assert errors.modes.shape == (478, 2, errors.modes.shape[-1])
    typical = (
        (errors.bias.square() + errors.modes.square().sum(-1) + errors.spread[:, None].square()).mean().sqrt()
    )
    assert 0.01 < float(typical) < 0.03  # of the face
    assert float(errors.spread.mean()) < 0.5 * float(typical)  # most of it in common
    assert shipped(model, "fan").errors is None


@pytest.mark.parametrize("detector", ["mediapipe", "fan"])
def test_points_lie_where_they_should(model: OpenHead, detector: str) -> None:
    embedding = shipped(model, detector)
    topology = TOPOLOGIES[detector]
    points = places(model, embedding)
    mean, regions = model.mean, model.regions

    def gap(index: tuple[int, ...], region: str) -> Tensor:
        return torch.cdist(points[list(index)], mean[regions[region]]).amin(1)

    assert float(gap(topology.right_eye + topology.left_eye, "eyelids").max()) < 2.5
    assert (
        float(gap(topology.lips_outer, "lips").max()) < 3 and float(gap(topology.lips_inner, "lips").max()) < 2
    )
    assert float(gap(topology.right_brow + topology.left_brow, "brows").median()) < 5
    assert (
        float(points[list(topology.right_eye), 0].max())
        < -5
        < 5
        < float(points[list(topology.left_eye), 0].min())
    )
    tip = points[list(topology.nose)]
    assert float(tip[:, 2].max()) > float(mean[:, 2].max()) - 3
    chin = points[topology.chin]
    assert abs(float(chin[0])) < 1 and float(chin[1]) < float(points[list(topology.lips_outer), 1].min()) - 15


def test_iris_points_turn_with_the_eyes(model: OpenHead) -> None:
    embedding = shipped(model, "mediapipe")
    iris = list(MEDIAPIPE.right_iris + MEDIAPIPE.left_iris)
    in_eyes = model.regions["eyes"][model.triangles[embedding.triangles]].all(1)
    assert in_eyes[iris].all() and int(in_eyes.sum()) == len(iris)
    looking = places(model, embedding, eyeLookInLeft=1.0, eyeLookOutRight=1.0) - places(model, embedding)
    assert float(looking[iris, 0].max()) < -1.5  # to the subject's right


@pytest.mark.parametrize("detector", ["mediapipe", "fan"])
def test_lips_open_and_lids_close(model: OpenHead, detector: str) -> None:
    embedding = shipped(model, detector)
    opened = places(model, embedding, jawOpen=1.0) - places(model, embedding)
    inner = TOPOLOGIES[detector].lips_inner
    # The rings run along the lower lip first in one scheme, along the upper lip first in the other.
    upper = {"mediapipe": (82, 13, 312), "fan": (61, 62, 63)}[detector]
    lower = {"mediapipe": (87, 14, 317), "fan": (65, 66, 67)}[detector]
    assert set(upper + lower) <= set(inner)
    assert float(opened[list(lower), 1].max()) < -5 and float(opened[list(upper), 1].abs().max()) < 6
    blinked = places(model, embedding, eyeBlinkLeft=1.0, eyeBlinkRight=1.0) - places(model, embedding)
    lids = {"mediapipe": (159, 386), "fan": (37, 44)}[detector]
    assert float(blinked[list(lids), 1].max()) < -3


def test_shipped_embedding_is_symmetric(model: OpenHead) -> None:
    for detector, pairs in {
        "mediapipe": [(33, 263), (133, 362), (61, 291), (78, 308), (105, 334), (58, 288), (468, 473), (1, 1)],
        "fan": [(0, 16), (4, 12), (17, 26), (36, 45), (39, 42), (31, 35), (48, 54), (62, 62)],
    }.items():
        embedding = shipped(model, detector)
        trust = torch.zeros(int(embedding.indices.max()) + 1).index_copy(
            0, embedding.indices, embedding.weights
        )
        points = places(model, embedding)
        left, right = torch.tensor([pair for pair in pairs if trust[list(pair)].min() > 0.02]).T
        assert len(left) > 5
        assert float((points[left] * MIRROR - points[right]).norm(dim=1).max()) < 0.3


def test_known_points_are_found_again(model: OpenHead) -> None:
    """A perfect detector, which projects known points of the head that it is shown."""
    known = shipped(model, "mediapipe")
    shown: list[Scene] = []

    def draw_and_remember(scene: Scene) -> Tensor:
        shown.append(scene)
        size = (1, scene.camera.height, scene.camera.width, 4)
        return torch.zeros(size)

    def project(_: np.ndarray) -> np.ndarray:
        scene = shown[-1]
        corners = scene.mesh.vertices[0, model.triangles[known.triangles]]
        return scene.camera.project((corners * known.barycentric[..., None]).sum(1)[None])[0].double().numpy()

    found = compute_embedding(model, "mediapipe", draw_and_remember, project)
    error = (places(model, found) - places(model, known)).norm(dim=1)
    open_error = (places(model, found, jawOpen=1.0) - places(model, known, jawOpen=1.0)).norm(dim=1)
    clear = ~known.contour
    assert float(error[clear].median()) < 0.1 and float(error[clear].quantile(0.95)) < 0.5
    assert float(open_error[clear].quantile(0.95)) < 0.8  # on the right lip
    assert float(found.weights[clear].median()) > 0.97


def test_a_face_that_is_not_seen(model: OpenHead) -> None:
    with pytest.raises(FaceNotFoundError, match="albedo"):
        compute_embedding(model, "mediapipe", lambda scene: torch.zeros(1, 8, 8, 4), lambda picture: None)


def test_computed_cached_and_recomputed(unlabelled: OpenHead, model: OpenHead, tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="renderer"):
        load_or_compute(unlabelled, "mediapipe", cache_dir=tmp_path)
    computed = load_or_compute(unlabelled, "mediapipe", draw, tmp_path)
    error = (places(model, computed) - places(model, shipped(model, "mediapipe"))).norm(dim=1)
    assert float(error[~computed.contour].median()) < 0.5  # the detector may run through OpenCV here
    (file,) = tmp_path.glob("*.npz")
    again = load_or_compute(unlabelled, "mediapipe", cache_dir=tmp_path)
    assert torch.equal(again.triangles, computed.triangles) and torch.equal(again.weights, computed.weights)
    file.write_bytes(b"damaged")
    with pytest.raises(MissingPartError):
        load_or_compute(unlabelled, "mediapipe", cache_dir=tmp_path)
    assert (
        load_or_compute(model, "mediapipe", cache_dir=tmp_path).detector == "mediapipe"
    )  # shipped: no file needed


def kept(model: OpenHead, folder: Path) -> Path:
    """A cache file with the shipped embedding, as if it had been computed."""
    path = folder / f"landmarks-mediapipe-{cache._fingerprint(model, 'mediapipe')}.npz"
    np.savez_compressed(path, **arrays(shipped(model, "mediapipe")))
    return path


@pytest.mark.parametrize(("start", "damage"), [(0.4, b"\0" * 400), (0.9, None)], ids=["deflated", "cut"])
def test_a_damaged_cache_is_as_good_as_none(
    unlabelled: OpenHead, model: OpenHead, tmp_path: Path, start: float, damage: bytes | None
) -> None:
    """Bytes changed in the middle (zlib, checksums) and an end that is missing (the archive's directory)."""
    path = kept(model, tmp_path)
    assert load_or_compute(unlabelled, "mediapipe", cache_dir=tmp_path).triangles.numel()
    whole = path.read_bytes()
    cut = int(start * len(whole))
    path.write_bytes(whole[:cut] + damage + whole[cut + len(damage) :] if damage else whole[:cut])
    with pytest.raises(MissingPartError, match="renderer"):  # it would be computed
        load_or_compute(unlabelled, "mediapipe", cache_dir=tmp_path)


def test_a_kept_embedding_is_of_this_detector_and_this_mouth(
    model: OpenHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache._fingerprint(model, "mediapipe")
    assert cache._fingerprint(model, "mediapipe") == before
    jaw = model.expression_basis.clone()
    jaw[model.expression_names.index("jawOpen")] *= 1.1
    assert cache._fingerprint(replace(model, expression_basis=jaw), "mediapipe") != before
    assert cache._fingerprint(model, "fan") != before
    monkeypatch.setattr("nextface.landmarks.detection.versions.version", lambda package: "99.0")
    assert cache._fingerprint(model, "mediapipe") != before


def test_both_schemes_agree_on_the_eyes(model: OpenHead) -> None:
    mediapipe, fan = (places(model, shipped(model, detector)) for detector in ("mediapipe", "fan"))
    for side in ("right_eye", "left_eye"):
        ring, six = (list(getattr(topology, side)) for topology in (MEDIAPIPE, IBUG68))
        assert float((mediapipe[ring].mean(0) - fan[six].mean(0)).norm()) < 2
