"""The face model `ict`: a folder of OBJ files in ICT-FaceKit's schema, and what may be wrong with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_heads import around, make_head

from nextface.errors import MissingPartError, ModelError
from nextface.model_files import cache as model_cache
from nextface.models import create
from nextface.models.ict import model as loader
from nextface.models.ict.model import ENDS, VERTICES
from nextface.models.linear_head import LinearHead
from nextface.models.validation import problems

UNIT = 10.0  # mm
MOODS = {  # ICT's names -> the open head's
    "jawOpen": "jawOpen",
    "eyeBlink_L": "eyeBlinkLeft",
    "browInnerUp_L": "browOuterUpLeft",
    "browInnerUp_R": "browOuterUpRight",
    "PupilDilate_L": "eyeWideLeft",
}
PEOPLE = 2


def write_model(folder: Path) -> None:
    """The folder FaceXModel: 26,719 vertices in ICT's order, of which face and eyeballs are in polygons."""
    head = make_head(ENDS["face"], eyes=True)
    surface, left, right = head.parts
    place = np.arange(VERTICES) % surface  # of the padding
    place[:surface] = np.arange(surface)
    for first, start, count in (("teeth", surface, left), ("left iris", surface + left, right)):
        place[ENDS[first] : ENDS[first] + count] = start + np.arange(count)
    number = np.full(len(head.vertices), -1)
    number[place[::-1]] = np.arange(VERTICES)[::-1]  # the first use of each
    uvs = around(head.vertices)
    polygons = "".join(
        "f " + " ".join(f"{number[corner] + 1}/{corner + 1}" for corner in triangle) + "\n"
        for triangle in head.triangles
    )

    def write(name: str, vertices: np.ndarray, after: str = "") -> None:
        lines = np.array(["v {:.5f} {:.5f} {:.5f}\n".format(*point) for point in vertices / UNIT])
        lines = "".join(lines[place])
        (folder / f"{name}.obj").write_text("# made for a test\n" + lines + after)

    folder.mkdir()
    layout = "".join("vt {:.6f} {:.6f}\n".format(*uv) for uv in uvs)
    write("generic_neutral_mesh", head.vertices, layout + "usemtl M_Face\n" + polygons)
    for person, offset in enumerate(head.identity(PEOPLE)):
        write(f"identity{person:03d}", head.vertices + offset)
    for name, ours in MOODS.items():
        write(name, head.vertices + head.expression(ours))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder of model files."""
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "FaceXModel")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests here."""
    folder = tmp_path_factory.getbasetemp() / "ict-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def load(folder: Path) -> LinearHead:
    model = create("ict", folder=str(folder))
    assert isinstance(model, LinearHead)
    return model


def test_it_is_read_in_mm_by_arkits_names(folder: Path) -> None:
    model, head = load(folder), make_head(ENDS["face"], eyes=True)
    assert problems(model) == []
    surface = head.parts[0]
    assert np.allclose(model.mean[:surface], head.vertices[:surface], atol=1e-3)
    assert np.allclose(model.identity_basis[:, :surface], head.identity(PEOPLE)[:, :surface], atol=2e-3)
    assert set(model.expression_names) == {"jawOpen", "eyeBlinkLeft", "browInnerUp"}
    brows = model.expression_basis[model.expression_names.index("browInnerUp")]
    both = head.expression("browOuterUpLeft") + head.expression("browOuterUpRight")
    assert np.allclose(brows[:surface], both[:surface], atol=3e-3), "ARKit has one for both sides"
    assert int(model.regions["eyes"][model.triangles].all(1).sum()) > 0
    assert model.regions["eyes"].sum() == 2 * 770, "the inner shells are left out"


def test_the_face_gets_most_of_the_map(folder: Path) -> None:
    model = load(folder)
    assert model.uvs is not None and model.uv_triangles is not None
    on_face = ~model.regions["eyes"][model.triangles].any(1)
    face, eyes = (model.uvs[model.uv_triangles[chosen]] for chosen in (on_face, ~on_face))
    assert face[..., 1].min() > 0.25 and face[..., 0].max() < 0.75
    assert eyes[..., 1].max() < 0.25


def test_what_was_converted_is_kept_and_made_again_when_damaged(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    (kept,) = (cache / "nextface" / "models").glob("ict-*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(loader, "_read", lambda path: pytest.fail("it was kept"))
        assert np.array_equal(load(folder).mean, first.mean)
    kept.write_bytes(kept.read_bytes()[:5000])
    assert np.array_equal(load(folder).mean, first.mean)
    assert kept.stat().st_size > 5000


def test_what_is_kept_follows_contents_and_neither_places_nor_times(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    copied = tmp_path / "FaceXModel"
    shutil.copytree(folder / "FaceXModel", copied, copy_function=os.link)
    with monkeypatch.context() as patch:
        patch.setattr(loader, "_read", lambda path: pytest.fail("it was kept"))
        assert np.array_equal(load(tmp_path).mean, first.mean)
    (copied / "identity001.obj").unlink()
    shutil.copyfile(copied / "identity000.obj", copied / "identity001.obj")
    other = load(tmp_path)
    assert np.array_equal(other.identity_basis[1], first.identity_basis[0])


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(model_cache, "MOST_BYTES", 35_000)
    content = {"values": np.zeros(1250)}  # 10 kB
    for hour, key in enumerate("abc"):
        model_cache.kept("made", key, lambda: content)
        os.utime(tmp_path / "nextface" / "models" / f"made-{key}.npz", (hour * 3600, hour * 3600))
    model_cache.kept("made", "a", lambda: pytest.fail("it was kept"))
    model_cache.kept("made", "d", lambda: content)
    left = sorted((tmp_path / "nextface" / "models").iterdir())
    assert [path.name for path in left] == ["made-a.npz", "made-c.npz", "made-d.npz"]
    assert sum(path.stat().st_size for path in left) <= 35_000


def test_a_missing_folder_is_named_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "model.zip").touch()
    with pytest.raises(MissingPartError) as caught:
        load(tmp_path)
    for word in ("FaceXModel", "github.com/ICT-VGL/ICT-FaceKit", "MIT", f"{tmp_path}/", "model.zip"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("generic_neutral_mesh.obj", None, "has no generic_neutral_mesh.obj"),
        ("identity001.obj", "v 1 2 3\n", "identity001.obj with 1 vertices"),
        ("jawOpen.obj", "v one two three\n", "jawOpen.obj, which has coordinates that are no numbers"),
        (
            "generic_neutral_mesh.obj",
            "v 0 0 0\nvt 0 0\nf 1/1 1/1 9/1\n",
            "corners that are not",
        ),
        ("generic_neutral_mesh.obj", "v 0 0 0\nf 1 1 1\n", "of 1 vertices, not 26,719"),
    ],
)
def test_a_wrong_file_is_named(folder: Path, tmp_path: Path, name: str, text: str | None, said: str) -> None:
    shutil.copytree(folder / "FaceXModel", tmp_path / "FaceXModel", copy_function=os.link)
    wrong = tmp_path / "FaceXModel" / name
    wrong.unlink()
    if text is not None:
        wrong.write_text(text)
        if name.startswith("generic"):
            for other in (tmp_path / "FaceXModel").glob("*.obj"):
                if other != wrong:
                    other.write_text("v 0 0 0\n")
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


def test_a_file_too_large_is_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "FaceXModel").mkdir()
    with (tmp_path / "FaceXModel" / "generic_neutral_mesh.obj").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ModelError, match="1,074 MB; at most 67 MB"):
        load(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "FaceXModel").write_text("<html>Not found</html>")
    with pytest.raises(ModelError, match="it is no folder"):
        load(tmp_path)
