"""Light files against direct integrals of the light over the hemisphere, and against engines' own formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from hostile import command

from nextface.export.formats.light.cube import FACES
from nextface.export.formats.light.irradiance import UNITY, UNREAL
from nextface.export.head.light import light_of_head
from nextface.export.saved.result import SavedResult
from nextface.scene.lighting import map_directions, map_solid_angles, sh_basis, to_light_frame

PHOTO = 1
NORMALS = np.random.default_rng(5).normal(size=(60, 3))
NORMALS /= np.linalg.norm(NORMALS, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(result_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second photo's light, exported by the command."""
    folder = tmp_path_factory.mktemp("light") / "here"
    answer = command("export", result_folder, "--format", "light", "--output", folder, "--photo", PHOTO)
    assert answer.code == 0, answer.said
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, dict[str, list[list[float]]]]:
    return json.loads((folder / "light.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def irradiance(result: SavedResult) -> np.ndarray:
    """E / pi [60, 3] at NORMALS in the head's frame, summed over the texels of a fine map of the light."""
    directions, weights = map_directions(96).reshape(-1, 3), map_solid_angles(96).reshape(-1, 1)
    light = light_of_head(result.reconstruction, PHOTO)
    radiance = sh_basis(directions, light.bands) @ light.light[0].double()
    cosine = (torch.from_numpy(NORMALS) @ directions.T).clamp(min=0)
    return (cosine @ (radiance * weights)).numpy() / math.pi


def radiance(result: SavedResult, directions: np.ndarray) -> np.ndarray:
    """The light [K, 3] from directions [K, 3] of the head's frame, by way of the camera's frame."""
    single = result.reconstruction[PHOTO]
    in_camera = torch.from_numpy(directions) @ single.camera().turn[0].double().T
    basis = sh_basis(to_light_frame(in_camera), single.bands)
    return (basis @ single.light_coefficients()[0].double()).numpy()


def test_the_map_is_the_light_around_the_head(folder: Path, result: SavedResult) -> None:
    with OpenEXR.File(str(folder / "light.exr")) as file:
        pixels = file.channels()["RGB"].pixels
    height = len(pixels)
    wanted = radiance(result, map_directions(height).reshape(-1, 3).numpy()).reshape(height, -1, 3)
    np.testing.assert_allclose(pixels, wanted, atol=1e-4 * wanted.max())
    coarse = cv2.imread(str(folder / "light.hdr"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(coarse, wanted, atol=0.01 * wanted.max())


def test_unity_evaluates_the_irradiance(told: dict, irradiance: np.ndarray) -> None:
    """As Unity's shader ShadeSH9 does with what SphericalHarmonicsL2 packs for it."""
    sh = np.array(told["unity"]["coefficients"])
    x, y, z = (NORMALS @ UNITY.numpy().T).T[..., None]
    shader = sh[3] * x + sh[1] * y + sh[2] * z + (sh[0] - sh[6])
    shader = (
        shader + sh[4] * x * y + sh[5] * y * z + 3 * sh[6] * z * z + sh[7] * z * x + sh[8] * (x * x - y * y)
    )
    np.testing.assert_allclose(shader, irradiance, atol=0.02 * irradiance.mean())


def test_unreal_evaluates_the_irradiance(told: dict, irradiance: np.ndarray) -> None:
    """As Unreal's shader GetSkySHDiffuse does with the constants that it makes of FSHVectorRGB3."""
    sh = np.array(told["unreal"]["coefficients"])
    x, y, z = (NORMALS @ UNREAL.numpy().T).T[..., None]
    root = math.sqrt(math.pi)
    c0, c1, c2, c3 = (
        1 / (2 * root),
        math.sqrt(3) / (3 * root),
        math.sqrt(15) / (8 * root),
        math.sqrt(5) / (16 * root),
    )
    shader = -c1 * sh[3] * x - c1 * sh[1] * y + c1 * sh[2] * z + c0 * sh[0] - c3 * sh[6]
    shader = shader + c2 * (sh[4] * x * y - sh[5] * y * z - sh[7] * z * x) + 3 * c3 * sh[6] * z * z
    shader = shader + c2 / 2 * sh[8] * (x * x - y * y)
    np.testing.assert_allclose(shader, irradiance, atol=0.02 * irradiance.mean())


def test_engines_frames_are_of_the_left_hand_and_look_ahead() -> None:
    for frame, ahead in ((UNITY, [0, 0, 1]), (UNREAL, [0, 1, 0])):
        assert torch.linalg.det(frame) == pytest.approx(-1)
        assert (frame @ torch.tensor([0, 0, 1.0])).tolist() == ahead


def test_three_js_and_unity_find_the_light_on_the_cube(folder: Path, result: SavedResult) -> None:
    """Faces are looked up by OpenGL's rule with x turned around, as both programs do (Unity by its frame)."""
    faces = {
        name: cv2.imread(str(folder / f"cube_{name}.hdr"), cv2.IMREAD_UNCHANGED)[..., ::-1] for name in FACES
    }
    size = len(faces["px"])
    found = []
    for x, y, z in NORMALS * (-1, 1, 1):
        largest = int(np.argmax(np.abs([x, y, z])))
        name = "pn"[int((x, y, z)[largest] < 0)] + "xyz"[largest]
        s, t = {"px": (-z, -y), "nx": (z, -y), "py": (x, z), "ny": (x, -z), "pz": (x, -y), "nz": (-x, -y)}[name]
        middle = abs((x, y, z)[largest])
        column, row = (min(int((value / middle + 1) / 2 * size), size - 1) for value in (s, t))
        found.append(faces[name][row, column])
    wanted = radiance(result, NORMALS)
    np.testing.assert_allclose(found, wanted, atol=0.06 * wanted.max(), err_msg="but for half a texel")


def test_both_frames_are_told(told: dict, result: SavedResult) -> None:
    harmonics = told["sphericalHarmonics"]
    camera = result.reconstruction[PHOTO].light_coefficients()[0]
    np.testing.assert_allclose(harmonics["camera"], camera.numpy(), atol=1e-6)
    basis = sh_basis(torch.from_numpy(NORMALS), harmonics["bands"]).numpy()
    wanted = radiance(result, NORMALS)
    np.testing.assert_allclose(basis @ np.array(harmonics["head"]), wanted, atol=1e-4 * wanted.max())
