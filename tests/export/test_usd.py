"""USD scenes: valid by UsdValidation; what UsdSkel, UsdGeom and UsdShade make of them is the photo's scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import command
from pxr import Gf, Usd, UsdGeom, UsdLux, UsdShade, UsdSkel, UsdValidation
from scipy.spatial import cKDTree

from nextface.export.saved.result import SavedResult
from nextface.scene.reflectance import SPECULAR_RANGE

PHOTO = 1


@pytest.fixture(scope="module")
def scenes(result_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second photo's scene in both forms, exported by the command."""
    folder = tmp_path_factory.mktemp("usd")
    words = ["export", result_folder, "--format", "usda,usdz", "--output", folder, "--photo", PHOTO]
    answer = command(*words)
    assert answer.code == 0, answer.said
    return folder


@pytest.fixture(scope="module", params=[".usda", ".usdz"])
def stage(request: pytest.FixtureRequest, scenes: Path, result_folder: Path) -> Usd.Stage:
    return Usd.Stage.Open(str(scenes / f"{result_folder.name}{request.param}"))


def under_root(stage: Usd.Stage, name: str) -> Usd.Prim:
    return stage.GetDefaultPrim().GetChild(name)


def test_usd_validation_has_no_complaints(stage: Usd.Stage) -> None:
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 10
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []


def test_skinned_points_are_the_photos_face(stage: Usd.Stage, result: SavedResult) -> None:
    """As UsdSkel applies blend shapes and joints."""
    root = UsdSkel.Root(under_root(stage, "body"))
    stage.SetEditTarget(stage.GetSessionLayer())  # the package itself cannot be changed
    assert UsdSkel.BakeSkinning(root, Gf.Interval.GetFullInterval())
    found = []
    for prim in Usd.PrimRange(root.GetPrim()):
        if prim.IsA(UsdGeom.Mesh):
            points = UsdGeom.Mesh(prim).GetPointsAttr()
            times = points.GetTimeSamples()
            found.append(np.array(points.Get(times[0] if times else Usd.TimeCode.Default())))
    wanted = result.reconstruction[PHOTO].vertices()[0].numpy() / 1000
    distance, _ = cKDTree(np.concatenate(found)).query(wanted)
    assert distance.max() < 2e-5, "metres"


def test_the_camera_sees_the_head_where_the_photo_does(stage: Usd.Stage, result: SavedResult) -> None:
    camera = UsdGeom.Camera(under_root(stage, "camera")).GetCamera()
    scene = result.reconstruction.scene(PHOTO)
    points = scene.mesh.vertices[0, ::500]
    wanted = scene.camera.project(points[None])[0].numpy()
    projection = camera.frustum.ComputeViewMatrix() * camera.frustum.ComputeProjectionMatrix()
    seen = np.array([projection.Transform(Gf.Vec3d(*map(float, point / 1000))) for point in points])
    size = np.array([scene.camera.width, scene.camera.height])
    found = (seen[:, :2] * (1, -1) + 1) / 2 * size
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_the_surface_reads_maps_and_the_dome_the_light(stage: Usd.Stage) -> None:
    surface = UsdShade.Shader(under_root(stage, "skin").GetChild("surface"))
    assert surface.GetInput("useSpecularWorkflow").Get() == 1
    for name, space in (
        ("diffuseColor", "sRGB"),
        ("specularColor", "raw"),
        ("roughness", "raw"),
        ("normal", "raw"),
    ):
        (source,), _ = surface.GetInput(name).GetConnectedSources()
        texture = UsdShade.Shader(source.source.GetPrim())
        assert texture.GetInput("sourceColorSpace").Get() == space
        assert texture.GetInput("file").Get().resolvedPath
    scale = UsdShade.Shader(under_root(stage, "skin").GetChild("specularMap")).GetInput("scale").Get()
    assert scale[0] == pytest.approx(SPECULAR_RANGE[1])
    light = UsdLux.DomeLight(under_root(stage, "light"))
    assert light.GetTextureFileAttr().Get().resolvedPath.strip("]").endswith("light.exr")
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1 and UsdGeom.GetStageUpAxis(stage) == "Y"


def test_eyes_turn_about_their_centres(stage: Usd.Stage, result: SavedResult) -> None:
    skeleton = UsdSkel.Skeleton(under_root(stage, "body").GetChild("skeleton"))
    names, places = list(skeleton.GetJointsAttr().Get()), skeleton.GetBindTransformsAttr().Get()
    mesh = under_root(stage, "body").GetChild("eyeLeft")
    (joint,) = UsdSkel.BindingAPI(mesh).GetJointIndicesPrimvar().Get()
    assert names[joint] == "root/eyeLeft"
    points = torch.from_numpy(np.array(UsdGeom.Mesh(mesh).GetPointsAttr().Get()))
    radii = (points - torch.tensor(list(places[joint].ExtractTranslation()))).norm(dim=1)
    assert radii.median() == pytest.approx(0.016, abs=0.004) and radii.std() < 0.001


def test_a_missing_package_is_said(
    result_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextface.export.formats.usd.find_spec", lambda name: None)
    answer = command("export", result_folder, "--format", "usdz", "--output", tmp_path)
    assert answer.code == 2 and "pip install 'nextface[usd]'" in answer.said
