"""Rotations, normals, projection and focal lengths against OpenCV, SciPy, trimesh and definitions."""

import math

import cv2
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from nextface.scene import Camera, Mesh
from nextface.scene.geometry import focal_pixels, intrinsic_matrix, rotation_matrix, vertex_normals


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.3, math.pi, 4.0])
def test_rotation_agrees_with_scipy(angle):
    vector = np.array([0.48, -0.6, 0.64]) * angle
    expected = Rotation.from_rotvec(vector).as_matrix()
    np.testing.assert_allclose(rotation_matrix(torch.from_numpy(vector)).numpy(), expected, atol=1e-9)


def test_rotation_gradient_is_right_at_zero_and_beyond():
    for vector in ([0.0, 0.0, 0.0], [0.3, -0.2, 0.9], [math.pi, 0.0, 0.0]):
        leaf = torch.tensor(vector, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(rotation_matrix, leaf, atol=1e-5)


def test_normals_agree_with_trimesh_area_weighting():
    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices = mesh.vertices * [1.0, 2.0, 0.5]
    reference = trimesh.Trimesh(vertices, mesh.faces, process=False)
    weighted = reference.face_normals * reference.area_faces[:, None]
    expected = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(expected, reference.faces[:, corner], weighted)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(np.array(mesh.faces)))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-9)
    assert ((found[0].numpy() * vertices).sum(1) > 0).all()


def test_projection_agrees_with_opencv():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(20, 3)) * 80
    rotation, translation = np.array([3.0, 0.2, -0.1]), np.array([10.0, -20.0, 600.0])
    intrinsics = intrinsic_matrix(
        torch.tensor([500.0], dtype=torch.float64), torch.tensor([[130.0, 99.0]], dtype=torch.float64)
    )
    expected, _ = cv2.projectPoints(points, rotation, translation, intrinsics[0].numpy(), None)
    camera = Camera(intrinsics, torch.from_numpy(rotation)[None], torch.from_numpy(translation)[None], 256, 200)
    np.testing.assert_allclose(
        camera.project(torch.from_numpy(points)[None])[0].numpy(), expected[:, 0], atol=1e-6
    )


def test_a_50_mm_lens_sees_46_8_degrees_across_the_diagonal():
    focal = float(focal_pixels(50.0, 3000, 2000))
    diagonal = math.hypot(3000, 2000)
    assert math.degrees(2 * math.atan(diagonal / 2 / focal)) == pytest.approx(46.8, abs=0.05)


def test_mesh_normals_carry_gradients():
    vertices = torch.tensor(
        [[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]], dtype=torch.float64, requires_grad=True
    )
    triangles = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    assert torch.autograd.gradcheck(lambda v: Mesh.from_vertices(v, triangles).normals, vertices)
