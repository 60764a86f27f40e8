"""glTF files: valid by Khronos' validator, the photo's face with its weights, F0 as it was fitted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from fixture_model import make_sheet
from hostile import command
from made_result import MAPS
from node_packages import validated
from PIL import Image
from scipy.spatial import cKDTree

from nextface.export.formats.gltf.head import write_glb
from nextface.export.head.normals import smooth_normals
from nextface.export.saved.result import SavedResult
from nextface.models.bases import sphere_centre
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene.colour import srgb_to_linear

PARTS = {"head", "eyeLeft", "eyeRight", "teethUpper", "teethLower", "tongue"}
PHOTO = 1  # whose expression is exported


@pytest.fixture(scope="module")
def glb(result_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result's second photo, exported by the command."""
    path = tmp_path_factory.mktemp("glb") / "me.glb"
    answer = command("export", result_folder, "--format", "glb", "--output", path, "--photo", PHOTO)
    assert answer.code == 0, answer.said
    assert str(path) in answer.said and sorted(path.parent.iterdir()) == [path]
    return path


@pytest.fixture(scope="module")
def document(glb: Path) -> pygltflib.GLTF2:
    return pygltflib.GLTF2().load(str(glb))


def numbers(document: pygltflib.GLTF2, index: int) -> np.ndarray:
    """An accessor's values [count, columns], sparse ones filled in."""
    accessor = document.accessors[index]
    columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor.type]

    def read(view: int, component: int, count: int, wide: int) -> np.ndarray:
        start = document.bufferViews[view].byteOffset
        kind = {5123: "<u2", 5125: "<u4", 5126: "<f4"}[component]
        data = document.binary_blob()
        return np.frombuffer(data, kind, count * wide, start).reshape(count, wide)

    values = read(accessor.bufferView, accessor.componentType, accessor.count, columns).copy()
    if (sparse := accessor.sparse) is not None:
        places = read(sparse.indices.bufferView, sparse.indices.componentType, sparse.count, 1)[:, 0]
        values[places] = read(sparse.values.bufferView, accessor.componentType, sparse.count, columns)
    return values


def picture(document: pygltflib.GLTF2, texture: int) -> np.ndarray:
    """A texture's pixels, 0 to 1."""
    view = document.bufferViews[document.images[document.textures[texture].source].bufferView]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.asarray(Image.open(io.BytesIO(data))) / 255


def assert_valid(path: Path) -> dict[str, Any]:
    report = validated(path)
    assert report["issues"]["numErrors"] == report["issues"]["numWarnings"] == 0, report["issues"]["messages"]
    return report["info"]


def test_khronos_validator_has_no_complaints(glb: Path) -> None:
    info = assert_valid(glb)
    assert set(info["extensionsUsed"]) == {"KHR_materials_specular", "KHR_materials_ior"}
    assert info["hasMorphTargets"] and info["hasTextures"] and info["drawCallCount"] == len(PARTS)


def test_the_validator_does_complain(glb: Path, tmp_path: Path) -> None:
    broken = pygltflib.GLTF2().load(str(glb))
    broken.meshes[0].weights.pop()
    broken.save(str(tmp_path / "broken.glb"))
    assert validated(tmp_path / "broken.glb")["issues"]["numErrors"] == 1


def test_its_weights_make_the_photos_face(document: pygltflib.GLTF2, result: SavedResult) -> None:
    """Every vertex of the fitted mesh, in metres, from rest, targets and weights."""
    model = result.reconstruction.model
    wanted = result.reconstruction[PHOTO].vertices()[0].numpy() / 1000
    found = []
    for node in document.nodes:
        if node.mesh is None:
            continue
        mesh = document.meshes[node.mesh]
        (primitive,) = mesh.primitives
        assert mesh.extras["targetNames"] == list(model.expression_names)
        assert len(mesh.weights) == len(primitive.targets) == 52
        places = numbers(document, primitive.attributes.POSITION) + np.array(node.translation or (0, 0, 0))
        for weight, target in zip(mesh.weights, primitive.targets, strict=True):
            places = places + weight * numbers(document, target["POSITION"])
        found.append(places)
    places = np.concatenate(found)
    assert cKDTree(places).query(wanted)[0].max() < 2e-5, "metres; targets leave out what is shorter than 1e-5"
    assert cKDTree(wanted).query(places)[0].max() < 2e-5


def test_targets_turn_normals(document: pygltflib.GLTF2, result: SavedResult) -> None:
    """Normals at full weight are those of the moved mesh."""
    mesh = document.meshes[[node.name for node in document.nodes].index("head")]
    (primitive,) = mesh.primitives
    number = mesh.extras["targetNames"].index("jawOpen")
    target = primitive.targets[number]
    places = numbers(document, primitive.attributes.POSITION) + numbers(document, target["POSITION"])
    normals = numbers(document, primitive.attributes.NORMAL) + numbers(document, target["NORMAL"])
    triangles = numbers(document, primitive.indices).reshape(-1, 3)
    moved = trimesh.Trimesh(places, triangles, process=False).face_normals
    means = normals[triangles].mean(1)
    facing = (moved * means / np.linalg.norm(means, axis=1, keepdims=True)).sum(1)
    assert np.median(facing) > 0.99
    rest = numbers(document, primitive.attributes.NORMAL)[triangles].mean(1)
    assert np.quantile(facing, 0.01) > np.quantile((moved * rest).sum(1), 0.01) + 0.1, (
        "better than those at rest"
    )


def test_parts_are_nodes_and_eyes_turn_about_their_centres(glb: Path) -> None:
    scene = trimesh.load(str(glb))
    assert set(scene.geometry) == PARTS
    assert np.ptp(scene.bounds, axis=0).max() == pytest.approx(0.3, abs=0.05), "a head is 30 cm high, in metres"
    for name, side in (("eyeLeft", 1), ("eyeRight", -1)):
        pivot = scene.graph.get(name)[0][:3, 3]
        assert side * pivot[0] > 0.02
        local = torch.from_numpy(np.array(scene.geometry[name].vertices))
        centre = sphere_centre(local[local[:, 2] < 0.008])  # without the cornea, which bulges
        assert centre is not None and centre.norm() < 1e-3
    rest = scene.geometry["teethUpper"].centroid - scene.geometry["teethLower"].centroid
    assert rest[1] > 0.005


def test_maps_say_the_fitted_reflectance(document: pygltflib.GLTF2, result: SavedResult) -> None:
    (material,) = document.materials
    maps = result.reconstruction.material
    assert maps is not None
    surface = material.pbrMetallicRoughness
    packed = picture(document, surface.metallicRoughnessTexture.index)
    assert packed.shape == (MAPS, MAPS, 3) and surface.metallicFactor == 0
    np.testing.assert_allclose(packed[..., 1], maps.roughness[0, ..., 0], atol=0.5 / 255 + 1e-6)
    assert (packed[..., 2] == 0).all()
    ior = material.extensions["KHR_materials_ior"]["ior"]
    strength = material.extensions["KHR_materials_specular"]
    colour = srgb_to_linear(picture(document, strength["specularColorTexture"]["index"]))
    np.testing.assert_allclose(
        ((ior - 1) / (ior + 1)) ** 2 * colour[..., 0], maps.specular[0, ..., 0], atol=3e-4
    )
    base = srgb_to_linear(picture(document, surface.baseColorTexture.index))
    kept = (1 - maps.specular[0].numpy()) * base  # what a target with (1 - F) draws facing the light
    np.testing.assert_allclose(kept, maps.diffuse[0], rtol=0.02, atol=0.006)


def test_the_normal_map_is_told(document: pygltflib.GLTF2, result: SavedResult) -> None:
    stored = picture(document, document.materials[0].normalTexture.index)
    wanted = (smooth_normals(result.reconstruction, MAPS) + 1) / 2
    np.testing.assert_allclose(stored, wanted, atol=0.5 / 255 + 1e-6)


def test_uvs_and_tangents_agree_with_finite_differences(document: pygltflib.GLTF2) -> None:
    attributes = document.meshes[0].primitives[0].attributes
    places, normals, uvs, tangents = (
        numbers(document, index)
        for index in (attributes.POSITION, attributes.NORMAL, attributes.TEXCOORD_0, attributes.TANGENT)
    )
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((tangents[:, :3] * normals).sum(1), 0, atol=1e-5)
    triangles = numbers(document, document.meshes[0].primitives[0].indices).reshape(-1, 3)
    edges, steps = (values[triangles[:, 1:]] - values[triangles[:, :1]] for values in (places, uvs))
    along = (
        np.linalg.pinv(steps, rcond=1e-9) @ edges
    )  # [F, 2, 3]: derivatives by u and by glTF's v, which is down
    area = np.abs(np.linalg.det(steps))
    regular = area > np.quantile(area, 0.2)
    at = triangles[regular, 0]
    unit = along[regular] / np.linalg.norm(along[regular], axis=2, keepdims=True)
    assert np.median((unit[:, 0] * tangents[at, :3]).sum(1)) > 0.98
    bitangents = np.cross(normals[at], tangents[at, :3]) * tangents[at, 3:]
    assert np.median((-unit[:, 1] * bitangents).sum(1)) > 0.95, "up in the map"


def test_a_model_without_uvs_has_colours(tmp_path: Path) -> None:
    model = make_sheet()
    parameters = Parameters(
        identity=torch.zeros(1, model.identity_size),
        expression=torch.tensor([[1.0, -0.5, 0, 0, 0]]),
        albedo=torch.zeros(1, 0),
        rotation=torch.zeros(1, 3),
        translation=torch.tensor([[0, 0, 700.0]]),
        focal=torch.tensor([5.0]),
        light=torch.zeros(1, LIGHT_LOBES, 3),
    )
    person = Reconstruction(model, parameters, (Frame(64, 64, torch.zeros(1, 2), np.eye(2, 3)),), 9, 32)
    write_glb(tmp_path / "sheet.glb", person)
    assert_valid(tmp_path / "sheet.glb")
    document = pygltflib.GLTF2().load(str(tmp_path / "sheet.glb"))
    (mesh,) = document.meshes
    assert mesh.primitives[0].attributes.COLOR_0 is not None
    assert mesh.weights == pytest.approx([1 / 3, -0.5 / 3, 0, 0, 0], abs=1e-6)
    roughness = document.materials[0].pbrMetallicRoughness.roughnessFactor
    assert roughness == pytest.approx(float(model.reflectance(parameters.albedo).roughness.mean()))
