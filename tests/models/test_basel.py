"""The face models `basel2017` and `basel2009`: files in their schemas, and what may be wrong with them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from made_heads import MadeHead, make_head
from scipy.io import savemat

from nextface.errors import MissingPartError, ModelError
from nextface.models import create
from nextface.models.linear_head import LinearHead
from nextface.models.validation import problems

PEOPLE, MOODS, SKINS = 6, 4, 3  # components, of 199, 100 and 145
BASEL = 28_588  # vertices of the face of 2017, cropped
PAYSAN, MOVED = 53_490, 53_215  # vertices of 2009, and those that have expressions
NAMES = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUp")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests here."""
    folder = tmp_path_factory.getbasetemp() / "basel-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def padded(head: MadeHead, count: int) -> np.ndarray:
    """Numbers [count] of the head's vertices: those that are too many stand for the last one again."""
    return np.minimum(np.arange(count), len(head.vertices) - 1)


def orthonormal(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Basis [3V, K] as Basel's files keep it, and the variances, of one standard deviation each [K, V, 3]."""
    rows = basis.reshape(len(basis), -1)
    length = np.linalg.norm(rows, axis=1)
    return (rows / length[:, None]).T, length**2


def write_2017(folder: Path, count: int = BASEL) -> None:
    """Basel 2017 and AlbedoMM as statismo writes them: rows of coordinates, cells by columns."""
    head = make_head(count, eyes=False)
    place, generator = padded(head, count), np.random.default_rng(0)
    moods = np.stack([head.expression(name)[place] * 0.3 for name in NAMES])
    skins = generator.normal(0, 0.02, (SKINS, count, 3))
    groups = {
        "shape": (head.vertices[place], head.identity(PEOPLE)[:, place]),
        "expression": (np.zeros((count, 3)), moods),
    }
    albedo = {
        "diffuseAlbedo": (head.diffuse()[place], skins),
        "specularAlbedo": (np.full((count, 3), 0.03), skins / 20),
    }
    for name, content in (
        ("model2017-1_face12_nomouth.h5", groups),
        ("albedoModel2020_face12_albedoPart.h5", albedo),
    ):
        with h5py.File(folder / name, "w") as file:
            for part, (mean, basis) in content.items():
                vectors, variance = orthonormal(basis)
                file[f"{part}/model/mean"] = mean.ravel().astype(np.float32)
                file[f"{part}/model/pcaBasis"] = vectors.astype(np.float32)
                file[f"{part}/model/pcaVariance"] = variance.astype(np.float32)
            if content is groups:
                file["shape/representer/cells"] = head.triangles.T.astype(np.int32)


@pytest.fixture(scope="module")
def of_2017(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("2017")
    write_2017(folder)
    return folder


def load(name: str, folder: Path) -> LinearHead:
    model = create(name, folder=str(folder))
    assert isinstance(model, LinearHead)
    return model


def test_2017_is_read_in_standard_deviations(of_2017: Path) -> None:
    model, head = load("basel2017", of_2017), make_head(BASEL, eyes=False)
    count = len(head.vertices)
    assert problems(model) == []
    assert model.mean.shape == (BASEL, 3) and model.albedo_size == SKINS
    assert np.allclose(model.mean[:count], head.vertices, atol=1e-3)
    assert np.allclose(model.identity_basis[:, :count], head.identity(PEOPLE), atol=1e-3)
    assert np.array_equal(model.triangles, head.triangles), "they face outwards already"
    seen = model.reflectance(torch.zeros(1, SKINS))
    assert np.allclose(seen.diffuse[0, :count], head.diffuse(), atol=2e-3)
    assert torch.allclose(seen.specular, torch.full_like(seen.specular, 0.03), atol=1e-4)


def test_triangles_that_face_inwards_are_turned(of_2017: Path, tmp_path: Path) -> None:
    for path in of_2017.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "model2017-1_face12_nomouth.h5", "a") as file:
        file["shape/representer/cells"][...] = file["shape/representer/cells"][()][::-1]
    triangles = load("basel2017", tmp_path).triangles
    assert np.array_equal(triangles, make_head(BASEL, eyes=False).triangles)


def test_2017_says_which_of_its_files_is_missing(of_2017: Path, tmp_path: Path) -> None:
    (tmp_path / "model2017-1_face12_nomouth.h5").hardlink_to(of_2017 / "model2017-1_face12_nomouth.h5")
    with pytest.raises(MissingPartError) as caught:
        load("basel2017", tmp_path)
    assert "albedoModel2020_face12_albedoPart.h5" in str(caught.value)
    assert "AlbedoMM" in str(caught.value) and "What lies there now: model2017-1" in str(caught.value)
    assert "faces.dmi.unibas.ch" not in str(caught.value), "that one is there"


def changed(name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("shape/model/mean", None), "has no array shape/model/mean; it holds expression, shape"),
        (changed("shape/model/pcaVariance", np.ones(3)), r"'shape/model/pcaBasis' of the shape"),
        (changed("expression/model/mean", np.zeros(9)), "'expression/model/pcaBasis' of the shape"),
        (changed("shape/representer/cells", np.full((3, 2), BASEL)), "'shape/representer/cells' from"),
        (changed("shape/model/pcaVariance", -np.ones(PEOPLE)), "negative variances"),
        (changed("shape/model/mean", "text"), "of the type"),
        (lambda file: (file.pop("shape/model/pcaBasis"),
                       file.create_dataset("shape/model/pcaBasis", (3 * BASEL, 10**9), "f8", chunks=(3, 100))),
         "85,764,000,000,000 values"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(of_2017: Path, tmp_path: Path, change: Any, said: str) -> None:
    for path in of_2017.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "model2017-1_face12_nomouth.h5", "a") as file:
        change(file)
    with pytest.raises(ModelError, match=said):
        load("basel2017", tmp_path)


def test_what_is_no_hdf5(of_2017: Path, tmp_path: Path) -> None:
    (tmp_path / "model2017-1_face12_nomouth.h5").write_text("<html>Please log in</html>")
    (tmp_path / "albedoModel2020_face12_albedoPart.h5").touch()
    with pytest.raises(ModelError, match="is no HDF5 file"):
        load("basel2017", tmp_path)


# 2009


def write_2009(folder: Path, surface: int = PAYSAN - 3000, count: int = PAYSAN, moved: int = MOVED) -> None:
    """01_MorphableModel.mat (columns, micrometres, counted from 1), Exp_Pca.bin, the index of its vertices."""
    head = make_head(surface, eyes=False)
    place = padded(head, count)
    vectors, variance = orthonormal(head.identity(PEOPLE)[:, place] * 1000)
    colour = np.repeat([[200.0, 150.0, 120.0]], count, 0)
    savemat(
        folder / "01_MorphableModel.mat",
        {
            "shapeMU": (head.vertices[place] * 1000).reshape(-1, 1).astype(np.float32),
            "shapePC": vectors.astype(np.float32),
            "shapeEV": np.sqrt(variance)[:, None].astype(np.float32),
            "texMU": colour.reshape(-1, 1).astype(np.float32),
            "texPC": np.eye(3 * count, SKINS, dtype=np.float32),
            "texEV": np.full((SKINS, 1), 10.0),
            "tl": (head.triangles[:, ::-1] + 1).astype(np.float64),  # clockwise, as there
            "segbin": np.zeros((count, 4), np.uint8),
        },
    )
    chosen = np.arange(moved)
    moods = np.stack([head.expression(name)[place][chosen] * 1000 for name in NAMES]).astype("<f4")
    mean = np.full((1, moved, 3), 5.0, "<f4")
    (folder / "Exp_Pca.bin").write_bytes(struct.pack("<i", MOODS) + mean.tobytes() + moods.tobytes())
    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": (chosen + 1)[None].astype(np.float64)})
    (folder / "std_exp.txt").write_text(" ".join(["0.25"] * MOODS) + "\n")


@pytest.fixture(scope="module")
def of_2009(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("2009")
    write_2009(folder)
    return folder


def test_2009_is_read_with_its_expressions(of_2009: Path) -> None:
    model, head = load("basel2009", of_2009), make_head(PAYSAN - 3000, eyes=False)
    count = len(head.vertices)
    assert problems(model) == []
    assert len(model.mean) == MOVED
    assert np.allclose(model.mean[:count], head.vertices, atol=1e-3)
    assert np.allclose(model.identity_basis[:, :count], head.identity(PEOPLE), atol=1e-3)
    assert np.allclose(model.expression_basis[0, :count], 0.25 * head.expression("jawOpen"), atol=1e-3)
    assert np.array_equal(model.triangles, head.triangles), "turned outwards, counted from 0"
    seen = model.reflectance(torch.zeros(1, SKINS)).diffuse[0, 0]
    assert np.allclose(seen, [0.5776, 0.3050, 0.1878], atol=1e-3)  # 200, 150, 120 by IEC 61966-2-1


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("01_MorphableModel.mat", b"MATLAB 7.3", ModelError, "no MATLAB file of version 5"),
        (
            "01_MorphableModel.mat",
            {"shapeMU": np.zeros((9, 1))},
            ModelError,
            "no array shapePC; it holds shapeMU",
        ),
        ("Exp_Pca.bin", struct.pack("<i", 10**6), ModelError, "not a number of expressions"),
        ("Exp_Pca.bin", b"", ModelError, "not a number of expressions"),
        ("Exp_Pca.bin", None, MissingPartError, "Exp_Pca.bin: the expression basis"),
        ("BFM_exp_idx.mat", {"trimIndex": np.ones((1, 7))}, ModelError, "names 7 of 53,490"),
        ("std_exp.txt", b"0.1 0.2", ModelError, "no 4 numbers above 0"),
    ],
)
def test_wrong_files_of_2009(
    of_2009: Path, tmp_path: Path, name: str, content: Any, error: type[Exception], said: str
) -> None:
    for path in of_2009.iterdir():
        if path.name != name:
            (tmp_path / path.name).hardlink_to(path)
    if isinstance(content, dict):
        savemat(tmp_path / name, content)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        load("basel2009", tmp_path)
