"""Exported maps and plain meshes: sizes, depths, channels, and what other libraries read from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import trimesh
from hostile import command
from made_result import MAPS

from nextface.export.saved.result import SavedResult
from nextface.scene.colour import linear_to_srgb, srgb_to_linear


@pytest.fixture(scope="module")
def exported(result_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Maps of all depths, and meshes, exported by the command."""
    folder = tmp_path_factory.mktemp("exported")
    for depth in ("8", "16", "exr"):
        words = ["export", result_folder, "--format", "maps", "--output", folder / depth, "--depth", depth]
        assert command(*words).code == 0
    answer = command("export", result_folder, "--format", "obj,ply", "--output", folder, "--resolution", 256)
    assert answer.code == 0, answer.said
    return folder


def png(path: Path) -> np.ndarray:
    """A PNG's values, 0 to 1, RGB."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None
    scaled = stored / (255 if stored.dtype == np.uint8 else 65535)
    return (
        scaled
        if stored.ndim == 2
        else cv2.cvtColor(
            scaled.astype(np.float32), cv2.COLOR_BGRA2RGBA if stored.shape[2] == 4 else cv2.COLOR_BGR2RGB
        )
    )


def exr(path: Path, channels: str) -> np.ndarray:
    with OpenEXR.File(str(path)) as file:
        return np.array(file.channels()[channels].pixels)


@pytest.mark.parametrize(("depth", "step"), [("8", 0.5 / 255), ("16", 0.5 / 65535)])
def test_pngs_hold_the_maps_to_half_a_step(
    exported: Path, result: SavedResult, depth: str, step: float
) -> None:
    maps = result.reconstruction.material
    assert maps is not None
    rough, colour = maps.roughness[0].numpy(), linear_to_srgb(maps.diffuse[0].numpy())
    orm, mask = png(exported / depth / "ORM.png"), png(exported / depth / "MaskMap.png")
    tolerance = step + 1e-6
    np.testing.assert_allclose(orm[..., 1:2], rough, atol=tolerance)
    assert orm.shape == (MAPS, MAPS, 3) and (orm[..., 0] == 1).all() and (orm[..., 2] == 0).all()
    np.testing.assert_allclose(mask[..., 3:], 1 - rough, atol=tolerance, err_msg="Unity's smoothness")
    assert (mask[..., 0] == 0).all() and (mask[..., 1] == 1).all()
    np.testing.assert_allclose(png(exported / depth / "baseColor.png"), colour, atol=tolerance)
    f0 = 0.08 * png(exported / depth / "specular.png")
    np.testing.assert_allclose(f0[..., None], maps.specular[0], atol=0.08 * tolerance)


def test_green_points_up_or_down_the_normal_map(exported: Path) -> None:
    up, down = (exr(exported / "exr" / f"normal{name}.exr", "RGB") for name in ("OpenGL", "DirectX"))
    np.testing.assert_allclose(up[..., 1], 1 - down[..., 1], atol=1e-6)
    assert (up[..., ::2] == down[..., ::2]).all()
    assert up[..., 1].std() > 1e-3, "it is not flat"
    np.testing.assert_allclose(np.linalg.norm(2 * up - 1, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(png(exported / "16" / "normalDirectX.png"), down, atol=1e-5)


def test_exrs_hold_linear_floats(exported: Path, result: SavedResult) -> None:
    maps = result.reconstruction.material
    assert maps is not None
    np.testing.assert_allclose(exr(exported / "exr" / "baseColor.exr", "RGB"), maps.diffuse[0], atol=1e-6)
    np.testing.assert_allclose(
        exr(exported / "exr" / "roughness.exr", "Y"), maps.roughness[0, ..., 0], atol=1e-6
    )
    assert exr(exported / "exr" / "MaskMap.exr", "RGBA").shape == (MAPS, MAPS, 4)
    under = exr(exported / "exr" / "baseColorUnderFresnel.exr", "RGB")
    assert (under >= maps.diffuse[0].numpy()).all()


def test_obj_is_read_with_its_maps(exported: Path, result: SavedResult, result_folder: Path) -> None:
    name = result_folder.name
    mesh = trimesh.load(str(exported / f"{name}.obj"), process=False, maintain_order=True)
    wanted = result.reconstruction.scene().mesh.vertices[0].numpy()
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx(np.ptp(wanted, axis=0), abs=1e-3)
    assert mesh.visual.material.image.size == (256, 256)
    text = (exported / f"{name}.mtl").read_text()
    for statement in ("Pr 1", "Pm 0", f"map_Pr {name}_roughness.png", f"map_Ks {name}_specularColour.png"):
        assert statement in text
    for line in text.splitlines():
        if line.startswith("map_"):
            assert (exported / line.split()[1]).is_file()


def test_ply_has_normals_and_colours(exported: Path, result: SavedResult, result_folder: Path) -> None:
    mesh = trimesh.load(str(exported / f"{result_folder.name}.ply"), process=False)
    scene = result.reconstruction.scene()
    np.testing.assert_allclose(mesh.vertices, scene.mesh.vertices[0], atol=1e-4)
    np.testing.assert_allclose(mesh.vertex_normals, scene.mesh.normals[0], atol=1e-4)
    wanted = result.reconstruction.model_material().diffuse[0].numpy()
    found = srgb_to_linear(mesh.visual.vertex_colors[:, :3] / 255)
    assert np.median(np.abs(found - wanted)) < 0.01


def test_words_for_what_cannot_be_exported(result_folder: Path, tmp_path: Path) -> None:
    here = ["export", result_folder, "--output", tmp_path / "out"]
    for words, said in (
        (["--format", "fbx"], "no format fbx"),
        (["--format", "glb", "--resolution", "300"], "--resolution 300"),
        (["--format", "maps", "--depth", "12"], "--depth 12"),
        (["--format", "glb", "--photo", "2"], "no photo 2"),
    ):
        answer = command(*here, *words)
        assert answer.code == 2 and said in answer.said, answer.said
    answer = command("export", tmp_path, "--format", "glb")
    assert answer.code == 2 and "no scene_0.json" in answer.said
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_what_fails_leaves_nothing(
    result_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nextface.system.atomic.os.replace", full)
    (tmp_path / "old.txt").write_text("mine")
    answer = command("export", result_folder, "--format", "maps", "--output", tmp_path)
    assert answer.code == 2 and "No space left" in answer.said
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
