"""The face model `gnm`: a file in the schema of Google's GNM Head 3, and its skinning by the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_heads import around, make_head
from scipy.spatial.transform import Rotation

from nextface.errors import MissingPartError, ModelError
from nextface.models import create
from nextface.models.skinned_head import SkinnedHead
from nextface.models.validation import problems

VERTICES, EYES, JOINTS = 17_821, 1412, 4
PEOPLE = 5  # identity components, of 253
MOODS = ("left_eye_0", "mouth_0", "mouth_1", "tongue_0")  # of 383
METRES = 1000.0


def gnm_arrays() -> dict[str, np.ndarray]:
    """Everything of gnm_head.npz, in its shapes, types and order of axes."""
    generator = np.random.default_rng(0)
    head = make_head(VERTICES - EYES, eyes=True)
    place = np.minimum(np.arange(VERTICES), len(head.vertices) - 1)
    # The last vertex is in a triangle, as everywhere; those before it that are too many are in none.
    triangles = np.where(head.triangles == len(head.vertices) - 1, VERTICES - 1, head.triangles)
    vertices = (head.vertices[place] / METRES).astype(np.float32)
    surface, left, right = head.parts
    weights = np.zeros((JOINTS, VERTICES), np.float32)
    low = np.clip((-0.05 - vertices[:, 1]) / 0.05, 0, 1)
    weights[0], weights[1] = low, 1 - low
    weights[:, surface:] = 0
    weights[2, surface : surface + left] = 1
    weights[3, surface + left :] = 1
    balls = [slice(surface, surface + left), slice(surface + left, surface + left + right)]
    joints = np.stack([[0, -0.09, -0.02], [0, -0.06, 0.0], *(vertices[ball].mean(0) for ball in balls)])
    uvs = around(vertices)
    for ball, corner in zip(balls, (0.08, 0.92), strict=True):
        away = vertices[ball] - vertices[ball].mean(0)
        off_axis = np.arctan2(np.hypot(away[:, 0], away[:, 1]), away[:, 2])
        across = away[:, :2] / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
        uvs[ball] = [corner, 0.1] + across * off_axis[:, None] * 0.02
    uvs = uvs[place]
    names = ("eyeBlinkLeft", "mouthSmileLeft", "jawOpen", "mouthPucker")
    expression = np.stack([0.3 * head.expression(name)[place] / METRES for name in names])
    groups = np.stack([weights[2], weights[3], np.zeros(VERTICES, np.float32)])
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": vertices,
        "template_joint_positions": joints.astype(np.float32),
        "vertex_identity_basis": (head.identity(PEOPLE)[:, place] / METRES).astype(np.float32),
        "joint_identity_basis": generator.normal(0, 1e-3, (PEOPLE, JOINTS, 3)).astype(np.float32),
        "expression_basis": expression.astype(np.float32),
        "identity_names": np.array([f"head_{number}" for number in range(PEOPLE)]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "expression_names": np.array(MOODS),
        "joint_parent_indices": np.array([0, 0, 1, 1]),
        "skinning_weights": weights,
        "quads": np.concatenate([triangles, triangles[:, -1:]], 1).astype(np.int32),
        "triangles": triangles.astype(np.int32),
        "quad_uvs": np.zeros((len(triangles), 4, 2), np.float32),
        "triangle_uvs": uvs[triangles].astype(np.float32),
        "mesh_component_names": np.array(["skin", "left_eye", "right_eye"]),
        "mirror_indices": np.arange(VERTICES, dtype=np.int32)[::-1].copy() * 0,
        "joint_regressor": np.zeros((JOINTS, VERTICES), np.float32),
        "pose_correctives_regressor": generator.normal(0, 1e-4, (9 * JOINTS, 3 * VERTICES)).astype(np.float32),
        "bone_aligned_template_joint_orientations": np.repeat(np.eye(3, dtype=np.float32)[None], JOINTS, 0),
        "vertex_groups": groups,
        "vertex_group_names": np.array(["left_eye", "right_eye", "tongue"]),
    }


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return gnm_arrays()


@pytest.fixture(scope="module")
def folder(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of model files."""
    folder = tmp_path_factory.mktemp("files")
    np.savez(folder / "gnm_head.npz", **arrays)  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests here."""
    folder = tmp_path_factory.getbasetemp() / "gnm-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def load(folder: Path) -> SkinnedHead:
    model = create("gnm", folder=str(folder))
    assert isinstance(model, SkinnedHead)
    return model


def defined(arrays: dict[str, Any], identity: np.ndarray, moods: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """GNM's definition in double precision, a joint at a time: vertices [V, 3] in metres."""
    shaped = arrays["template_vertex_positions"] + np.einsum(
        "k,kva->va", identity, arrays["vertex_identity_basis"]
    )
    shaped = shaped + np.einsum("e,eva->va", moods, arrays["expression_basis"])
    places = arrays["template_joint_positions"] + np.einsum(
        "k,kja->ja", identity, arrays["joint_identity_basis"]
    )
    turns = Rotation.from_rotvec(angles).as_matrix()
    features = (turns - np.eye(3)).ravel()
    posed = shaped + (features @ arrays["pose_correctives_regressor"].astype(float)).reshape(-1, 3)
    world: list[np.ndarray] = []
    for joint, parent in enumerate(arrays["joint_parent_indices"]):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = turns[joint], places[joint] - (places[parent] if joint else 0)
        world.append(world[parent] @ step if joint else step)
    moved = np.zeros_like(posed)
    for joint in range(JOINTS):
        there = (posed - places[joint]) @ world[joint][:3, :3].T + world[joint][:3, 3]
        moved += arrays["skinning_weights"][joint][:, None] * there
    return moved


def test_skinning_is_the_defined_one(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    model, generator = load(folder), np.random.default_rng(1)
    assert problems(model) == []
    identity, moods = generator.normal(size=PEOPLE), generator.normal(size=len(MOODS))
    angles = generator.normal(0, 0.2, (JOINTS, 3))
    angles[0] = 0  # the pose turns the root
    expression = torch.from_numpy(np.concatenate([moods, angles[1:].ravel()]))
    found = model.vertices(torch.from_numpy(identity)[None], expression[None])[0].numpy()
    true = defined(arrays, identity, moods, angles)
    assert np.abs(found / METRES - true).max() < 1e-5 * np.abs(true).max()


def test_names_regions_and_uvs_are_the_files(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    model = load(folder)
    assert model.component_names == MOODS
    assert model.expression_names[len(MOODS) :][:3] == ("head x", "head y", "head z")
    assert np.array_equal(model.regions["eyes"], arrays["vertex_groups"][:2].max(0) > 0.5)
    assert not model.regions["tongue"].any()
    assert model.uvs is not None and model.uv_triangles is not None
    assert np.allclose(model.uvs[model.uv_triangles], arrays["triangle_uvs"], atol=1e-6)
    assert model.mirror is None, "the file's map is none of pairs"


def test_a_missing_file_needs_no_form(tmp_path: Path) -> None:
    with pytest.raises(MissingPartError, match="gnm_head") as caught:
        load(tmp_path)
    assert "github.com/google/GNM" in str(caught.value) and "no form" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("skinning_weights", None, "no array 'skinning_weights'"),
        (
            "skinning_weights",
            np.zeros((VERTICES, JOINTS), np.float32),
            r"of the shape \[17821, 4\], not 4 x 17821",
        ),
        ("joint_parent_indices", np.array([0, 3, 1, 1]), "tree of joints"),
        ("triangles", np.array([[0, 1, VERTICES]]), "'triangles' from 0 to 17821"),
        ("expression_names", np.array(["same"] * 4), "4 different names in 'expression_names'"),
    ],
)
def test_wrong_content_is_named(
    arrays: dict[str, np.ndarray], tmp_path: Path, name: str, value: Any, said: str
) -> None:
    content = {key: part for key, part in (arrays | {name: value}).items() if part is not None}
    np.savez(tmp_path / "gnm_head.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


def test_an_absurd_size_is_refused_before_anything_is_made(folder: Path, tmp_path: Path) -> None:
    """The archive's directory says 8 GB of one array."""
    data = bytearray((folder / "gnm_head.npz").read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xF0000000).to_bytes(4, "little")
    (tmp_path / "gnm_head.npz").write_bytes(data)
    with pytest.raises(ModelError, match="would unfold to"):
        load(tmp_path)
