"""The face model `flame`: files in FLAME's schema, its skinning by the published equations, hostile pickles."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from made_heads import around, make_head
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation

from nextface.completion.completing import load_face_model
from nextface.errors import MissingPartError, ModelError
from nextface.export.film.own_parameters import write_own_parameters
from nextface.fitting.tracking.coordinates import FrameCoordinates
from nextface.fitting.tracking.frame_problem import FrameProblem
from nextface.fitting.tracking.track import Track, state_type
from nextface.models import create
from nextface.models.skinned_head import SkinnedHead
from nextface.models.validation import problems
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene import Camera
from nextface.scene.geometry import intrinsic_matrix
from nextface.videos.film import written
from nextface.videos.records import Records
from nextface.videos.video import Video

VERTICES, EYES = 5023, 1412
IDENTITIES, MOODS = 300, 100
MADE = 12  # identities and expressions that are not zero
METRES = 1000.0
POSE = ("rotation", "neck_pose", "jaw_pose", "eyes_pose")
SHAPES = {  # of a frame's parameters, as others read them
    "translation": (1, 3),
    "rotation": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 6),
    "shape": (IDENTITIES,),
    "expr": (1, MOODS),
    "static_offset": (1, VERTICES, 3),
}


def flame_arrays() -> dict[str, Any]:
    """Everything of FLAME's pickle, in its shapes, types and order of axes."""
    generator = np.random.default_rng(0)
    head = make_head(VERTICES - EYES, eyes=True)
    place = np.minimum(np.arange(VERTICES), len(head.vertices) - 1)
    vertices = head.vertices[place] / METRES
    shapes = np.zeros((VERTICES, 3, IDENTITIES + MOODS))
    shapes[..., :MADE] = head.identity(MADE)[:, place].transpose(1, 2, 0) / METRES
    for number, name in enumerate(("mouthSmileLeft", "mouthSmileRight", "browInnerUp", "mouthPucker")):
        shapes[..., IDENTITIES + number] = head.expression(name)[place] / METRES * 0.3
    moved = np.linalg.norm(head.expression("jawOpen"), axis=1)[place]
    surface, left, _ = head.parts
    weights = np.zeros((VERTICES, 5))
    weights[:surface, 2] = np.clip(moved[:surface] / moved[:surface].max() * 1.2, 0, 1)
    weights[:surface, 1] = 1 - weights[:surface, 2]
    weights[surface : surface + left, 3] = 1
    weights[surface + left :, 4] = 1
    joints = np.zeros((5, VERTICES))  # each joint is a mean of some vertices
    for joint, chosen in enumerate((vertices[:, 1] < -0.09, vertices[:, 1] < -0.06, moved > 0.5)):
        joints[joint, np.flatnonzero(chosen)[:60]] = 1 / 60
    joints[3] = weights[:, 3] / weights[:, 3].sum()
    joints[4] = weights[:, 4] / weights[:, 4].sum()
    return {
        "v_template": vertices,
        "shapedirs": shapes,
        "posedirs": generator.normal(0, 1e-4, (VERTICES, 3, 36)),
        "J_regressor": joints,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": weights,
        "f": head.triangles.astype(np.uint32),
        "J": joints @ vertices,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


class Ch:
    """As chumpy pickles its arrays: the values under "x", beside what it remembers."""

    def __init__(self, values: np.ndarray) -> None:
        self.x = values
        self._dirty_vars: set[str] = set()
        self._cache = {"drs": {}}


class csc_matrix:  # noqa: N801 - SciPy's name
    """As SciPy pickled sparse matrices in FLAME's days."""

    def __init__(self, dense: np.ndarray) -> None:
        found = sparse.csc_matrix(dense)
        self.__dict__ |= {"_shape": found.shape, "format": "csc", "maxprint": 50}
        self.__dict__ |= {name: getattr(found, name) for name in ("data", "indices", "indptr")}


def write_pickle(path: Path, content: object) -> None:
    """As Python 2 wrote it with chumpy and old NumPy and SciPy, none of which is here."""
    names = {"chumpy": None, "chumpy.ch": Ch, "scipy.sparse.csc": csc_matrix}
    kept = {name: sys.modules.get(name) for name in names}
    try:
        for name, kind in names.items():
            module = sys.modules[name] = ModuleType(name)
            if kind is not None:
                kind.__module__, kind.__qualname__ = name, kind.__name__
                setattr(module, kind.__name__, kind)
        data = pickle.dumps(content, protocol=2)
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return flame_arrays()


@pytest.fixture(scope="module")
def folder(arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of model files."""
    folder = tmp_path_factory.mktemp("files")
    wrapped = arrays | {name: Ch(arrays[name]) for name in ("shapedirs", "v_template", "weights")}
    write_pickle(folder / "generic_model.pkl", wrapped | {"J_regressor": csc_matrix(arrays["J_regressor"])})
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests here."""
    folder = tmp_path_factory.getbasetemp() / "flame-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def load(folder: Path) -> SkinnedHead:
    model = create("flame", folder=str(folder))
    assert isinstance(model, SkinnedHead)
    return model


def published(
    arrays: dict[str, Any], identity: np.ndarray, moods: np.ndarray, angles: np.ndarray
) -> np.ndarray:
    """FLAME's equations in double precision, a vertex and a joint at a time: vertices [V, 3] in metres."""
    betas = np.concatenate([identity, moods])
    shaped = arrays["v_template"] + arrays["shapedirs"] @ betas
    places = arrays["J_regressor"] @ shaped
    turns = Rotation.from_rotvec(angles).as_matrix()
    posed = shaped + arrays["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
    parents = arrays["kintree_table"][0].astype(np.int64)
    chain: list[np.ndarray] = []
    for joint in range(5):
        step = np.eye(4)
        step[:3, :3] = turns[joint]
        step[:3, 3] = places[joint] - (places[parents[joint]] if joint else 0)
        chain.append(chain[parents[joint]] @ step if joint else step)
    for joint in range(5):
        chain[joint][:3, 3] -= chain[joint][:3, :3] @ places[joint]
    blended = np.einsum("vj,jab->vab", arrays["weights"], np.stack(chain))
    return (blended[:, :3, :3] @ posed[..., None])[..., 0] + blended[:, :3, 3]


def test_skinning_is_the_published_one(folder: Path, arrays: dict[str, Any]) -> None:
    model, generator = load(folder), np.random.default_rng(1)
    assert problems(model) == []
    assert (model.identity_size, len(model.component_names)) == (IDENTITIES, MOODS)
    identity, moods = generator.normal(size=IDENTITIES), generator.normal(size=MOODS)
    angles = generator.normal(0, 0.2, (5, 3))
    angles[0] = 0  # the pose turns the root
    expression = torch.from_numpy(np.concatenate([moods, angles[1:].ravel()]))
    found = model.vertices(torch.from_numpy(identity)[None], expression[None])[0].numpy()
    true = published(arrays, identity, moods, angles)
    assert np.abs(found / METRES - true).max() < 1e-5 * np.abs(true).max()


def test_a_film_is_told_in_flames_own_parameters(folder: Path, arrays: dict[str, Any], tmp_path: Path) -> None:
    """FLAME's equations with the written parameters, seen by the written camera, are the track's head."""
    model, generator, size = load(folder), np.random.default_rng(3), 200
    identity = torch.from_numpy(generator.normal(size=(1, IDENTITIES))).float()
    none = torch.zeros(1, 3)
    parameters = Parameters(identity, torch.zeros(1, MOODS + 12), none, none, none, none[:, 0], none[None])
    frame = Frame(size, size, torch.full((1, 2), size / 2), np.eye(2, 3))
    camera = Camera(intrinsic_matrix(torch.tensor([400.0]), torch.full((1, 2), 100.0)), none, none, size, size)
    coordinates = FrameCoordinates(model.expression_prior)
    problem = FrameProblem(None, None, coordinates, camera, none, 3, None)  # type: ignore[arg-type]
    states = np.zeros(3, state_type(coordinates.size))
    states["take"], states["time"] = [0, -1, 0], [0, 0.04, 0.08]
    states["state"][:, :MOODS] = generator.normal(size=(3, MOODS))
    states["state"][:, MOODS : MOODS + 15] = generator.normal(0, 0.2, (3, 15))
    states["state"][:, MOODS + 15 : MOODS + 18] = [[10, -20, 600], [0, 0, 0], [-30, 5, 700]]
    film = tmp_path / "film.mp4"
    with written(film, (size, size)) as frames:
        frames.add(np.zeros((size, size, 3), np.uint8), 0.0)
    with Records(tmp_path / "states", states.dtype, "key") as records:
        records.append(states)
        person = Reconstruction(model, parameters, (frame,), 3, 16)
        track = Track(person, problem, records)
        write_own_parameters(tmp_path, track, Video.open(film))
        shown = [one for one in track.frames() if one is not None]
        places = [track.camera(one).project(track.vertices(one).double())[0].numpy() for one in shown]
    told = json.loads((tmp_path / "transforms_flame.json").read_text())
    assert [one["timestep_index_original"] for one in told["frames"]] == [0, 2]
    moved = []
    for one, true in zip(told["frames"], places, strict=True):
        with np.load(tmp_path / one["flame_param_path"]) as found:
            shapes = {name: found[name].shape for name in found.files}
            pose = np.concatenate([found[name].reshape(-1, 3) for name in POSE])
            vertices = published(arrays, found["shape"], found["expr"][0], pose) + found["translation"]
            moved.append(found["translation"][0])
        assert shapes == SHAPES
        turned = (vertices - np.array(one["transform_matrix"])[:3, 3]) * [1, -1, -1]
        pixels = turned[:, :2] / turned[:, 2:] * one["fl_x"] + [one["cx"], one["cy"]]
        assert np.abs(pixels - true).max() < 0.01
    assert np.allclose(np.mean(moved, 0), 0, atol=1e-6), "the head is about the world's origin"


def test_gradients_reach_identity_expression_and_angles(folder: Path) -> None:
    model = load(folder)
    identity = torch.zeros(1, IDENTITIES, requires_grad=True)
    expression = model.expression_prior.mean[None].clone().requires_grad_()
    model.vertices(identity, expression)[0, :, 1].square().sum().backward()
    assert identity.grad is not None and identity.grad[0, :MADE].abs().min() > 0
    assert expression.grad is not None and expression.grad[0, -12:].abs().max() > 0


def test_every_form_of_the_file_says_the_same(folder: Path, arrays: dict[str, Any], tmp_path: Path) -> None:
    numbers = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    np.savez(tmp_path / "a" / "flame2020.npz", **numbers)
    save_file(
        {name: np.ascontiguousarray(value) for name, value in numbers.items()},
        tmp_path / "b" / "flame2023.safetensors",
    )
    first = load(folder)
    for other in (load(tmp_path / "a"), load(tmp_path / "b")):
        assert torch.equal(other.shape.mean, first.shape.mean)
        assert torch.equal(other.correctives, first.correctives)
        assert other.parents == (-1, 0, 1, 1, 1)


def test_eyeballs_are_what_follows_the_eye_joints(folder: Path) -> None:
    model = load(folder)
    surface = make_head(VERTICES - EYES, eyes=True).parts[0]
    assert not model.regions["eyes"][:surface].any()
    assert model.regions["eyes"][surface:].all()


def layout(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """The surface around the vertical axis, the eyeballs around theirs, in the corners beside it."""
    uvs = around(arrays["v_template"])
    for eye, corner in ((3, 0.08), (4, 0.92)):
        ball = arrays["weights"][:, eye] == 1
        away = arrays["v_template"][ball] - arrays["v_template"][ball].mean(0)
        off_axis = np.arctan2(np.hypot(away[:, 0], away[:, 1]), away[:, 2])
        across = away[:, :2] / np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)[:, None]
        uvs[ball] = [corner, 0.1] + across * off_axis[:, None] * 0.02
    return {"vt": uvs, "ft": arrays["f"]}


def test_albedomm_brings_linear_diffuse_and_specular(
    folder: Path, arrays: dict[str, Any], tmp_path: Path
) -> None:
    generator = np.random.default_rng(2)
    (tmp_path / "generic_model.pkl").hardlink_to(folder / "generic_model.pkl")
    size, count = 64, 3
    ramp = np.broadcast_to(np.linspace(0.2, 0.6, size)[::-1, None, None], (size, size, 3))  # rises with v
    np.savez(
        tmp_path / "albedoModel2020_FLAME_albedoPart.npz",
        MU=ramp,
        PC=generator.normal(0, 0.01, (size, size, 3, count)),
        specMU=np.full((size, size, 3), 0.03),
        specPC=np.zeros((size, size, 3, count)),
        **layout(arrays),
    )
    model = load(tmp_path)
    assert model.albedo_size == count and problems(model) == []
    seen = model.reflectance(torch.zeros(1, count))
    height = layout(arrays)["vt"][:, 1]
    used = np.unique(arrays["f"])
    assert np.allclose(seen.diffuse[0, used, 0], 0.2 + 0.4 * height[used], atol=0.01)
    assert torch.allclose(seen.specular, torch.full_like(seen.specular, 0.03), atol=1e-4)
    step = 0.01 * torch.eye(count)
    slope = (model.reflectance(step).diffuse - model.reflectance(-step).diffuse) / 0.02
    assert model.albedo is not None
    assert torch.allclose(slope, model.albedo.diffuse[1:], atol=1e-4), "the file's components, at the mean"
    extreme = model.reflectance(torch.full((1, count), 500.0))
    assert extreme.diffuse.min() >= 0 and extreme.diffuse.max() <= 1


def test_flames_texture_is_decoded_blue_first(folder: Path, arrays: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "generic_model.pkl").hardlink_to(folder / "generic_model.pkl")
    mean = np.broadcast_to(np.array([50.0, 100.0, 200.0]), (16, 16, 3))
    np.savez(tmp_path / "FLAME_texture.npz", mean=mean, tex_dir=np.zeros((16, 16, 3, 2)), **layout(arrays))
    seen = load(tmp_path).reflectance(torch.zeros(1, 2)).diffuse[0, 0]
    assert np.allclose(seen, [0.5776, 0.1274, 0.0319], atol=2e-4)  # 200, 100, 50 by IEC 61966-2-1


def test_a_file_in_another_unit_makes_no_face(arrays: dict[str, Any], tmp_path: Path) -> None:
    few = {"shapedirs": np.zeros((VERTICES, 3, IDENTITIES + 1), np.float32)}  # quicker to write
    write_pickle(tmp_path / "generic_model.pkl", arrays | few | {"v_template": arrays["v_template"] * METRES})
    with pytest.raises(ModelError, match=r"flame cannot be used:\n- the mean face is 2.*e\+05 high"):
        load_face_model("flame", "cpu", str(tmp_path))


def test_a_missing_file_is_named_with_its_form(tmp_path: Path) -> None:
    with pytest.raises(MissingPartError) as caught:
        load(tmp_path)
    for word in ("generic_model.pkl", "flame.is.tue.mpg.de", "licence", f"{tmp_path}/", "is empty", "open"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v_template": None}, "holds no array 'v_template'"),
        ({"v_template": np.zeros((6890, 3))}, r"'v_template' of the shape \[6890, 3\], not 5023 x 3"),
        ({"shapedirs": np.zeros((VERTICES, 3, 10))}, "has 10 shape directions"),
        ({"f": np.array([[0, 1, 5023]])}, "'f' from 0 to 5023"),
        ({"kintree_table": np.array([[0, 4, 1, 1, 1], [0, 1, 2, 3, 4]])}, "tree of joints"),
        ({"weights": np.full((VERTICES, 5), np.nan)}, "'weights' that are not finite"),
    ],
)
def test_wrong_content_is_named(
    arrays: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    few = {"shapedirs": np.zeros((VERTICES, 3, IDENTITIES + 1), np.float32)}  # quicker to write
    content = {name: value for name, value in (arrays | few | change).items() if value is not None}
    write_pickle(tmp_path / "generic_model.pkl", content)
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


# Hostile files


class Payload:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def hostile() -> Iterator[tuple[str, object, str]]:
    """Names, contents (bytes, or what is pickled; {mark} is a file that must not appear) and what is said."""
    yield "a shell", lambda mark: Payload(os.system, f"touch {mark}"), "posix.system|os.system|nt.system"
    yield "eval", lambda mark: Payload(eval, f"open({str(mark)!r}, 'w')"), "eval"
    yield "a file", lambda mark: Payload(open, str(mark), "w"), "io.open"
    yield "inside chumpy", lambda mark: {"weights": Ch(Payload(os.system, f"touch {mark}"))}, "system"  # type: ignore[arg-type]
    yield "NumPy's loader", lambda mark: Payload(np.load, str(mark)), "numpy"
    yield "a chain of names", lambda mark: b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.alias\x93.", "numpy.dtype.alias"
    yield "objects in an array", lambda mark: {"v_template": np.array([{}, {}])}, "the type 'O8'"
    yield "no dictionary", lambda mark: [1, 2], "no dictionary"
    yield "no pickle", lambda mark: b"version https://git-lfs.github.com/spec/v1\n", "no pickle"
    yield "cut short", lambda mark: pickle.dumps({"a": np.zeros(9)}, 2)[:-20], "no pickle"
    yield "counted bytes", lambda mark: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "no pickle"
    yield "the memo", lambda mark: b"\x80\x02}r" + struct.pack("<I", 2**31) + b".", "absurd amount of memory"
    yield "texts without end", texts, "all of it has 30,100,000 values"
    yield "containers without end", containers, "all of it has 30,100,000 values"
    yield "arrays without end", arrays_of_one_text, "all of it has 30,100,000 values"
    yield "a large array", lambda mark: {"weights": Large()}, "1,000,000,000,000 values"
    yield (
        "a class of this program",
        lambda mark: b"c__builtin__\nobject\nN}X\x01\x00\x00\x00xK\x05s\x86b.",
        "change this program",
    )
    yield (
        "a function of this program",
        lambda mark: b"c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__Ns\x86b.",
        "change this program",
    )
    yield "lists for an array", lambda mark: {"weights": Ch([[0.0] * 9] * 9)}, "where an array's values belong"  # type: ignore[arg-type]


def again_and_again(content: bytes, call: bytes) -> bytes:
    """A dictionary with a content, and with a list of what 600 calls make of it. Protocol 2, by hand."""
    return b"\x80\x02}U\x01x" + content + b"q\x01sU\x01y](" + call * 600 + b"es."


def texts(mark: Path) -> bytes:
    text = b"X" + struct.pack("<I", 800_000) + b"a" * 800_000
    return again_and_again(text, b"c_codecs\nencode\n(h\x01U\x06latin1tR")


def containers(mark: Path) -> bytes:
    return again_and_again(b"](" + b"K\x00" * 100_000 + b"e", b"c__builtin__\nlist\n(h\x01tR")


def arrays_of_one_text(mark: Path) -> bytes:
    values = b"B" + struct.pack("<I", 800_000) + bytes(800_000)
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I100000\ntcnumpy\ndtype\n"
        b"(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nh\x01tb"
    )
    return again_and_again(values, made).replace(b"\x80\x02", b"\x80\x03", 1)


class Large:
    """An array that says to be much larger than its bytes."""

    def __reduce__(self) -> Any:
        made, arguments, _ = np.zeros(1).__reduce__()
        return made, arguments, (1, (10**6, 10**6), np.dtype(float), False, b"12345678")


@pytest.mark.parametrize(
    ("make", "said"), [pytest.param(make, said, id=name) for name, make, said in hostile()]
)
def test_hostile_pickles_are_refused_and_do_not_run(make: Any, said: str, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    content = make(mark.with_name("it_ran"))
    if isinstance(content, bytes):
        (tmp_path / "generic_model.pkl").write_bytes(content)
    else:
        write_pickle(tmp_path / "generic_model.pkl", content)
    with pytest.raises(ModelError, match=said):
        load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["generic_model.pkl"]


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """The test above can fail: Python's own reader runs the same file."""
    mark = tmp_path / "it_ran"
    path = tmp_path / "generic_model.pkl"
    write_pickle(path, Payload(os.system, f"touch {mark}"))
    pickle.loads(path.read_bytes())
    assert mark.exists()


def test_text_of_python_2_is_read_as_bytes(tmp_path: Path) -> None:
    """Python 2 wrote an array's bytes as text; protocol 2, by hand."""
    from nextface.model_files.pickles import read_pickle

    data = struct.pack("<2d", 1.5, -2.0)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(U\x02f8I0\nI1\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntbI00\nU" + bytes([len(data)]) + data + b"tb"
    )
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02}U\x01x" + array + b"s.")
    assert read_pickle(tmp_path / "old.pkl")["x"].tolist() == [1.5, -2.0]
