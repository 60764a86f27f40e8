"""The command line from a photo to a result folder, with every backend: the files, and whether they agree."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
import trimesh
from conftest import PORTRAIT, SMALL, PortraitRun
from PIL import Image

from nextface.fitting.statistical.posterior import face_of
from nextface.models import create as create_model
from nextface.person.checkpoint import Checkpoint
from nextface.scene.lighting import evaluate_map

MAP_SIZE = SMALL["textureResolution"]
PICTURES = {  # name: (mode as Pillow tells it, bits a channel)
    "render_0.png": ("RGB", 8),
    "reconstruction_0.png": ("RGBA", 8),
    "input_0.png": ("RGB", 8),
    "mask_0.png": ("L", 8),
    "landmarks_0.png": ("RGB", 8),
    "visibility_0.png": ("RGB", 8),
    "uncertainty_0.png": ("RGB", 8),
    "diffuseMap_0.png": ("RGB", 8),
    "specularMap_0.png": ("I;16", 16),
    "roughnessMap_0.png": ("I;16", 16),
    "envMap_0.png": ("RGB", 8),
}
MESHES = ("mesh0.obj", "mesh0.mtl", "meshNeutral0.obj", "meshNeutral0.mtl")
OTHER_FILES = ("envMap_0.exr", "uncertainty_0.npz", *MESHES)
JSON_FILES = ("scene_0.json", "metrics.json")


def read_png(run: PortraitRun, name: str) -> np.ndarray:
    """A picture as it is stored, RGB order."""
    stored = cv2.imread(str(run.folder / name), cv2.IMREAD_UNCHANGED)
    assert stored is not None, name
    return stored if stored.ndim == 2 else np.concatenate([stored[..., 2::-1], stored[..., 3:]], -1)


def read_json(run: PortraitRun, name: str) -> dict[str, Any]:
    content = json.loads((run.folder / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def described(portrait_run: PortraitRun) -> dict[str, Any]:
    """scene_0.json."""
    return read_json(portrait_run, "scene_0.json")


def test_it_ends_well_and_says_where_things_are(portrait_run: PortraitRun) -> None:
    run = portrait_run.process
    assert run.returncode == 0, run.stderr
    assert str(portrait_run.folder) in run.stdout
    for name in ("render_0.png", "mesh0.obj", "envMap_0.exr", "scene_0.json", "metrics.json", "dB"):
        assert name in run.stdout
    assert len(run.stdout.splitlines()) < 25
    for stage in ("1 landmarks", "2 statistical model", "3 reflectance maps"):
        assert f"{stage}: done after" in run.stderr
    assert "loss" in run.stderr and "Traceback" not in run.stderr


def test_every_promised_file_is_there_and_nothing_else(portrait_run: PortraitRun) -> None:
    names = {path.name for path in portrait_run.folder.iterdir()}
    folders = {"checkpoints", "debug", "outputStage1", "outputStage2"}
    assert names == {*PICTURES, *OTHER_FILES, *JSON_FILES, *folders, ".nextface.json", "report.html"}
    kept = {path.name for path in (portrait_run.folder / "checkpoints").iterdir()}
    assert kept == {name for n in (1, 2, 3) for name in (f"stage{n}.npz", f"stage{n}_loss.png")}
    debug = {path.name for path in (portrait_run.folder / "debug").iterdir()}
    assert {
        f"stage{n}_iteration000{i}.{kind}" for n in (2, 3) for i in (0, 5) for kind in ("png", "obj")
    } == debug
    for stage in (1, 2):
        part = {path.name for path in (portrait_run.folder / f"outputStage{stage}").iterdir()}
        assert {"render_0.png", "reconstruction_0.png", "mesh0.obj", "diffuseMap_0.png", "scene_0.json"} <= part


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_their_depth_and_channels(portrait_run: PortraitRun, name: str) -> None:
    mode, bits = PICTURES[name]
    with Image.open(portrait_run.folder / name) as image:
        assert image.format == "PNG"
        assert image.mode == mode
    assert read_png(portrait_run, name).dtype == (np.uint8 if bits == 8 else np.uint16)


def test_pictures_have_their_sizes(portrait_run: PortraitRun, described: dict[str, Any]) -> None:
    width, height = described["width"], described["height"]
    assert max(width, height) == SMALL["maxResolution"]
    for name in ("reconstruction_0.png", "input_0.png", "mask_0.png"):
        assert read_png(portrait_run, name).shape[:2] == (height, width)
    assert read_png(portrait_run, "render_0.png").shape == (height, 7 * width, 3)
    for name in ("diffuseMap_0.png", "specularMap_0.png", "roughnessMap_0.png", "visibility_0.png"):
        assert read_png(portrait_run, name).shape[:2] == (MAP_SIZE, MAP_SIZE)
    assert read_png(portrait_run, "envMap_0.png").shape[:2] == (64, 128)


def test_the_first_panel_is_the_photo_and_the_mask_has_two_values(portrait_run: PortraitRun) -> None:
    photo = read_png(portrait_run, "input_0.png")
    assert np.array_equal(read_png(portrait_run, "render_0.png")[:, : photo.shape[1]], photo)
    mask = read_png(portrait_run, "mask_0.png")
    assert set(np.unique(mask)) == {0, 255}
    assert 0.1 < (mask == 255).mean() < 0.6


def test_the_render_is_cut_out_with_straight_alpha(portrait_run: PortraitRun) -> None:
    render = read_png(portrait_run, "reconstruction_0.png")
    alpha = render[..., 3]
    assert (render[alpha == 0] == 0).all()
    assert 0.3 < (alpha == 255).mean() < 0.95
    assert (alpha[read_png(portrait_run, "mask_0.png") == 255] > 0).mean() > 0.97


def test_psnr_can_be_recomputed_from_the_files(portrait_run: PortraitRun) -> None:
    render = read_png(portrait_run, "reconstruction_0.png").astype(float)
    over_black = np.floor(render[..., :3] * render[..., 3:] / 255 + 0.5)
    photo = read_png(portrait_run, "input_0.png").astype(float)
    mask = read_png(portrait_run, "mask_0.png") == 255
    error = ((over_black - photo)[mask] ** 2).mean()
    metrics = read_json(portrait_run, "metrics.json")
    assert metrics["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
    assert metrics["psnr"] > 18
    assert metrics["psnr"] > metrics["psnrStage2"] > 12
    assert metrics["psnrOval"] > 12


def test_metrics_say_what_was_run(portrait_run: PortraitRun) -> None:
    metrics = read_json(portrait_run, "metrics.json")
    assert metrics["backend"] == portrait_run.backend
    assert metrics["castsShadows"] == (portrait_run.backend == "mitsuba")
    assert metrics["seed"] == 0
    assert metrics["device"] in ("cpu", "cuda:0")
    assert metrics["iterations"]["stage2"] == SMALL["iterStep2"]
    assert metrics["iterations"]["stage3"] == SMALL["iterStep3"]
    assert metrics["iterations"]["stage1"] >= 2
    assert {"stage1", "stage2", "stage3"} <= set(metrics["secondsByPart"])
    assert sum(metrics["secondsByPart"].values()) <= metrics["seconds"] < 600
    assert all(np.isfinite(metrics["losses"][f"stage{stage}"]) for stage in (1, 2, 3))
    assert 100 < metrics["peakMemoryMB"] < 4000
    assert {"python", "torch", "numpy"} <= set(metrics["versions"])


def test_the_light_file_is_the_light_of_the_scene_file(
    portrait_run: PortraitRun, described: dict[str, Any]
) -> None:
    coefficients = torch.tensor(described["sh"]["coefficients"], dtype=torch.float64)
    assert coefficients.shape == (described["sh"]["bands"] ** 2, 3)
    with OpenEXR.File(str(portrait_run.folder / "envMap_0.exr")) as file:
        stored = file.channels()["RGB"].pixels
    assert stored.dtype == np.float32 and stored.shape == (64, 128, 3)
    expected = evaluate_map(coefficients[None], 64)[0].numpy()
    assert np.abs(stored - expected).max() < 1e-3 * expected.max()
    assert stored.min() >= -1e-5 * stored.max()
    preview = read_png(portrait_run, "envMap_0.png")
    assert preview.max() == 255
    brightest = np.unravel_index(stored.argmax(), stored.shape)
    assert preview[brightest] == 255


def test_the_meshes_are_the_models(portrait_run: PortraitRun, described: dict[str, Any]) -> None:
    model = create_model("open")
    assert described["model"]["name"] == "open"
    identity, expression = (torch.tensor([described["model"][name]]) for name in ("identity", "expression"))
    assert len(described["model"]["albedo"]) == model.albedo_size
    for name, weight in (("mesh0.obj", 1.0), ("meshNeutral0.obj", 0.0)):
        vertices, corners = read_obj(portrait_run, name)
        assert np.allclose(vertices, model.vertices(identity, expression * weight)[0], atol=1e-3)
        assert np.array_equal(corners, model.triangles)
        mesh = trimesh.load(portrait_run.folder / name, process=False)
        assert mesh.visual.uv is not None and mesh.visual.uv.min() >= 0 and mesh.visual.uv.max() <= 1
        text = (portrait_run.folder / name).with_suffix(".mtl").read_text()
        assert "map_Kd diffuseMap_0.png" in text and "roughnessMap_0.png" in text


def read_obj(run: PortraitRun, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions [V, 3] and triangles [F, 3] in the file's own order; trimesh splits vertices at UV seams."""
    lines = (run.folder / name).read_text().splitlines()
    vertices = [[float(word) for word in line.split()[1:]] for line in lines if line.startswith("v ")]
    faces = [
        [int(word.split("/")[0]) - 1 for word in line.split()[1:]] for line in lines if line.startswith("f ")
    ]
    return np.array(vertices), np.array(faces)


def test_camera_and_pose_put_the_mesh_onto_the_photo(
    portrait_run: PortraitRun, described: dict[str, Any]
) -> None:
    """OpenCV projects the exported mesh with the exported camera: onto the render and the landmarks."""
    vertices, corners = read_obj(portrait_run, "mesh0.obj")
    intrinsics, rotation, translation = (
        np.array(described[key], dtype=float) for key in ("K", "rotation", "translation")
    )
    projected = cv2.projectPoints(vertices, rotation, translation, intrinsics, None)[0][:, 0]

    drawn = np.zeros((described["height"], described["width"]), np.uint8)
    for triangle in projected[corners]:
        cv2.fillConvexPoly(drawn, np.round((triangle - 0.5) * 16).astype(np.int32), 255, shift=4)
    alpha = read_png(portrait_run, "reconstruction_0.png")[..., 3]
    both, either = ((drawn > 0) & (alpha > 127)).sum(), ((drawn > 0) | (alpha > 127)).sum()
    assert both / either > 0.97

    model = create_model("open")
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    where = (vertices[model.triangles[embedding.triangles]] * embedding.barycentric.numpy()[..., None]).sum(1)
    points = cv2.projectPoints(where, rotation, translation, intrinsics, None)[0][:, 0]
    from nextface.landmarks import face_width
    from nextface.landmarks.detection import detect
    from nextface.photos.photo import load_photo

    found = detect(load_photo(PORTRAIT)).landmarks.transformed(np.array(described["photoToImage"]))
    offsets = np.linalg.norm(points - found.points[embedding.indices.numpy()], axis=1)
    assert np.median(offsets) < 0.03 * face_width(found)


def test_the_principal_point_is_the_photos_centre(described: dict[str, Any]) -> None:
    with Image.open(PORTRAIT) as photo:
        centre = np.array(described["photoToImage"]) @ [photo.width / 2, photo.height / 2, 1]
    assert np.allclose(np.array(described["K"])[:2, 2], centre, atol=1e-3)
    intrinsics = np.array(described["K"])
    assert intrinsics[0, 0] == intrinsics[1, 1]
    assert np.array_equal(intrinsics[2], [0, 0, 1])
    assert 250 <= described["translation"][2] <= 3000


def test_the_scene_file_names_the_files(portrait_run: PortraitRun, described: dict[str, Any]) -> None:
    assert described["schemaVersion"] == 1
    assert all((portrait_run.folder / name).is_file() for name in described["files"].values())
    assert {"diffuseMap_0.png", "mesh0.obj", "envMap_0.exr", "reconstruction_0.png"} <= set(
        described["files"].values()
    )


def test_maps_hold_plausible_skin(portrait_run: PortraitRun) -> None:
    """Neither background nor holes: every texel that was seen lies in the range of skin and its details."""
    visibility = read_png(portrait_run, "visibility_0.png").astype(int)
    assert np.abs(visibility.sum(-1) - 255).max() <= 2, "shares sum to one"
    seen = visibility[..., 0] > 128
    assert 0.05 < seen.mean() < 0.9
    diffuse = read_png(portrait_run, "diffuseMap_0.png")[seen]
    assert (diffuse.max(-1) > 20).mean() > 0.99
    assert (diffuse[:, 0] > diffuse[:, 2]).mean() > 0.8, "skin is redder than blue"
    specular = read_png(portrait_run, "specularMap_0.png")[seen] / 65535 * 0.08
    roughness = read_png(portrait_run, "roughnessMap_0.png")[seen] / 65535
    assert 0.015 < np.median(specular) < 0.06
    assert roughness.min() >= 0.1 - 1e-4 and 0.2 < np.median(roughness) < 0.9


def test_checkpoints_hold_arrays_and_no_pickle(portrait_run: PortraitRun) -> None:
    model = create_model("open")
    for stage in (1, 2, 3):
        path = portrait_run.folder / "checkpoints" / f"stage{stage}.npz"
        with np.load(path, allow_pickle=False) as stored:
            assert all(stored[name].dtype != object for name in stored.files)
        checkpoint = Checkpoint.load(path, model)
        assert (checkpoint.stage, checkpoint.finished) == (stage, True)
        assert (checkpoint.material is not None) == (stage == 3)


def test_every_vertex_has_an_uncertainty(portrait_run: PortraitRun, described: dict[str, Any]) -> None:
    deviation = np.load(portrait_run.folder / described["files"]["deviations"])["deviation"]
    model = create_model("open")
    assert deviation.shape == (len(model.mean),)
    assert deviation.min() > 0 and deviation.max() < 30
    median = read_json(portrait_run, "metrics.json")["uncertaintyMedian"]
    assert median == pytest.approx(float(np.median(deviation[face_of(model).numpy()])), rel=1e-3)
    stored = Checkpoint.load(portrait_run.folder / "checkpoints" / "stage3.npz", model).shape_deviation
    assert stored is not None and np.array_equal(stored.numpy(), deviation)
