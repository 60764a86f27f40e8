"""The face model `gnm`: a file in the schema of Google's GNM Head 3, and its skinning by the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_heads import around, make_head
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nextface.errors import MissingPartError, ModelError
from nextface.models import create
from nextface.models.skinned_head import SkinnedHead
from nextface.models.validation import problems

VERTICES, EYES, JOINTS = 17_821, 1346, 4  # the eyes have as many again in their outer, transparent shells
PEOPLE = 5  # identity components, of 253
MOODS = ("left_eye_region_000", "lower_face_region_000", "lower_face_region_001", "tongue_mean")  # of 383
METRES = 1000.0
ORIGIN = np.array([0.0, 0.23634, 0.02715])  # m, where the middle of the head lies in the file
SHELL = 1.03  # of the inner shell's size


def gnm_arrays() -> dict[str, np.ndarray]:
    """Everything of gnm_head.npz, in its shapes, types, names and order of axes."""
    generator = np.random.default_rng(0)
    head = make_head(VERTICES - 2 * EYES, eyes=True)
    surface, left, right = head.parts
    seen = len(head.vertices)
    # The eyes' outer shells follow, and last those that are too many, in no triangle.
    source = np.concatenate([np.arange(seen), np.arange(surface, seen), np.zeros(VERTICES, int)])[:VERTICES]
    vertices = head.vertices[source] / METRES
    balls = {"left_eye": slice(surface, surface + left), "right_eye": slice(surface + left, seen)}
    centres = {name: vertices[ball].mean(0) for name, ball in balls.items()}
    groups = {name: np.isin(source, np.arange(ball.start, ball.stop)) for name, ball in balls.items()}
    groups["eye_exteriors"] = (np.arange(VERTICES) >= seen) & (groups["left_eye"] | groups["right_eye"])
    groups["eyes"] = groups["left_eye"] | groups["right_eye"]
    groups["skin"] = ~groups["eyes"]
    groups["tongue"] = np.zeros(VERTICES, bool)
    shell = groups["eye_exteriors"]
    for name, centre in centres.items():
        outer = shell & groups[name]
        vertices[outer] = centre + SHELL * (vertices[outer] - centre)
    of_eyes = head.triangles[(head.triangles >= surface).all(1)]
    triangles = np.concatenate([head.triangles, of_eyes + left + right])
    weights = np.zeros((JOINTS, VERTICES), np.float32)
    low = np.clip((-0.05 - vertices[:, 1]) / 0.05, 0, 1)
    weights[0], weights[1] = low, 1 - low
    for joint, name in ((2, "left_eye"), (3, "right_eye")):
        weights[:, groups[name]] = 0
        weights[joint, groups[name]] = 1
    joints = np.stack([[0, -0.09, -0.02], [0, -0.06, 0.0], *centres.values()])
    uvs = around(vertices)
    for name, centre in centres.items():  # over the same unit square as the skin's
        away = vertices[groups[name]] - centre
        off_axis = np.arctan2(np.hypot(away[:, 0], away[:, 1]), away[:, 2])
        across = away[:, :2] / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
        uvs[groups[name]] = 0.5 + across * off_axis[:, None] * 0.15
    names = ("eyeBlinkLeft", "mouthSmileLeft", "jawOpen", "mouthPucker")
    expression = np.stack([0.3 * head.expression(name)[source] / METRES for name in names])
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": (vertices + ORIGIN).astype(np.float32),
        "template_joint_positions": (joints + ORIGIN).astype(np.float32),
        "vertex_identity_basis": (head.identity(PEOPLE)[:, source] / METRES).astype(np.float32),
        "joint_identity_basis": generator.normal(0, 1e-3, (PEOPLE, JOINTS, 3)).astype(np.float32),
        "expression_basis": expression.astype(np.float32),
        "identity_names": np.array([f"head_{number:03d}" for number in range(PEOPLE)]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "expression_names": np.array(MOODS),
        "joint_parent_indices": np.array([0, 0, 1, 1]),
        "skinning_weights": weights,
        "quads": np.concatenate([triangles, triangles[:, -1:]], 1).astype(np.int32),
        "triangles": triangles.astype(np.int32),
        "quad_uvs": np.zeros((len(triangles), 4, 2), np.float32),
        "triangle_uvs": uvs[triangles].astype(np.float32),
        "mesh_component_names": np.array(["skin", "left_eye", "right_eye"]),
        "mirror_indices": pairs(vertices).astype(np.int32),
        "joint_regressor": np.zeros((JOINTS, VERTICES), np.float32),
        "pose_correctives_regressor": generator.normal(0, 1e-4, (9 * JOINTS, 3 * VERTICES)).astype(np.float32),
        "bone_aligned_template_joint_orientations": np.repeat(np.eye(3, dtype=np.float32)[None], JOINTS, 0),
        "vertex_groups": np.stack(list(groups.values())).astype(np.float32),
        "vertex_group_names": np.array(list(groups)),
    }


def outer(arrays: dict[str, Any]) -> np.ndarray:
    """[V] the eyes' outer shells."""
    shell: np.ndarray = (
        arrays["vertex_groups"][arrays["vertex_group_names"].tolist().index("eye_exteriors")] > 0.5
    )
    return shell


def pairs(vertices: np.ndarray) -> np.ndarray:
    """A mirror map [V]: vertices whose mirror images lie nearest to each other; the others are their own."""
    _, nearest = cKDTree(vertices).query(vertices * [-1, 1, 1])
    number = np.arange(len(vertices))
    return np.where(nearest[nearest] == number, nearest, number)


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
    """GNM's definition in double precision, a joint at a time: vertices [V, 3] in m from the head's middle."""
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
    shown = arrays["template_vertex_positions"][arrays["triangles"][~outer(arrays)[arrays["triangles"]].all(1)]]
    return moved - [0, *(shown.min((0, 1)) + shown.max((0, 1)))[1:] / 2]


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
    groups = dict(zip(arrays["vertex_group_names"], arrays["vertex_groups"] > 0.5, strict=True))
    assert np.array_equal(model.regions["eyes"], groups["eyes"] & ~groups["eye_exteriors"])
    assert not model.regions["tongue"].any()
    assert model.mirror is not None
    assert np.array_equal(model.mirror, arrays["mirror_indices"])


def test_a_mirror_map_that_is_none_of_pairs_is_left_out(arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "gnm_head.npz", **arrays | {"mirror_indices": np.zeros(VERTICES, np.int32)})  # type: ignore[arg-type]
    assert load(tmp_path).mirror is None


def test_transparent_shells_do_not_hide_the_eyes(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    shell = outer(arrays)
    model = load(folder)
    assert shell.sum() == EYES and shell[arrays["triangles"]].all(1).sum() > 0
    assert not shell[model.triangles].any()
    assert len(model.shape.mean) == VERTICES, "vertices keep their numbers"


def test_parts_that_share_a_unit_square_get_squares_of_their_own(
    folder: Path, arrays: dict[str, np.ndarray]
) -> None:
    model = load(folder)
    assert model.uvs is not None and model.uv_triangles is not None
    eyes = model.regions["eyes"][model.triangles].all(1)
    skin = model.uvs[model.uv_triangles[~eyes]]
    assert skin[..., 0].min() >= 0 and skin[..., 0].max() <= 0.75 and skin[..., 1].min() >= 0.25
    assert model.uvs[model.uv_triangles[eyes]][..., 1].max() < 0.25
    whole = torch.from_numpy(arrays["triangle_uvs"][: int((~eyes).sum())])  # the skin comes first
    assert torch.allclose(skin, torch.tensor([0.0, 0.25]) + 0.75 * whole, atol=1e-6)


def test_the_origin_is_in_the_middle_of_the_head(folder: Path) -> None:
    model = load(folder)
    seen = model.shape.mean[model.triangles]
    assert (seen.amin((0, 1)) + seen.amax((0, 1))).abs()[1:].max() < 1e-3  # mm


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
