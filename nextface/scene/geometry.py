"""Rotations, normals and the camera's matrix: the geometry that every other room shares."""

from __future__ import annotations

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

FULL_FRAME_DIAGONAL_MM = 43.2666  # a 36 x 24 mm frame, to which "35 mm equivalent" focal lengths refer


def rotation_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of axis-angle vectors [..., 3] in radians (Rodrigues' formula).

    Differentiable everywhere with an angle below 2 pi, zero included.
    """
    angle_squared = (rotation * rotation).sum(-1)[..., None, None]
    small = angle_squared < 1e-8
    angle = torch.where(small, torch.ones_like(angle_squared), angle_squared).sqrt()
    sine = torch.where(small, 1 - angle_squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - angle_squared / 24, (1 - angle.cos()) / angle**2)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    return identity + sine * cross + cosine * (cross @ cross)


def facing(like: Tensor) -> Tensor:
    """The rotation [3, 3] from model space to the camera frame of a head that faces the camera.

    It turns y and z round, and is also the one from the light frame to the camera frame.
    """
    return torch.diag(like.new_tensor([1.0, -1.0, -1.0]))


def pose_matrix(pose: Tensor) -> Tensor:
    """Rotations [..., 3, 3] from model space to the camera frame of poses [..., 3].

    A pose is the head's turn away from facing the camera, an axis-angle vector in radians: around x it nods
    down, around y it turns to the picture's right, around z its crown tilts to the picture's left.
    """
    return facing(pose) @ rotation_matrix(pose)


def pose_of(rotation: Tensor) -> Tensor:
    """Poses [..., 3] of rotations [..., 3, 3] from model space to the camera frame: undoes `pose_matrix`.

    Carries no gradients. A pose is at most half a turn; its sign is open only where it is just that.
    """
    return rotation_vector(facing(rotation) @ rotation)


def rotation_vector(rotation: Tensor) -> Tensor:
    """Axis-angle vectors [..., 3] (radians, at most pi long) of rotations [..., 3, 3]; carries no gradients."""
    flat = rotation.detach().double().cpu().reshape(-1, 3, 3)
    vectors = torch.from_numpy(Rotation.from_matrix(flat.numpy()).as_rotvec())
    return vectors.view(rotation.shape[:-1]).to(rotation)


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Area-weighted unit vertex normals [N, V, 3] of vertices [N, V, 3] and triangles [F, 3]."""
    corners = vertices[:, triangles]
    faces = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(1, triangles[:, corner], faces)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)


def focal_pixels(focal_35mm: float | Tensor, width: int, height: int) -> float | Tensor:
    """Focal length in pixels of an uncropped width x height photo, from its 35 mm equivalent.

    The equivalent is taken over the diagonal, as CIPA DCG-001 defines it.
    """
    return focal_35mm * ((width**2 + height**2) ** 0.5 / FULL_FRAME_DIAGONAL_MM)


def intrinsic_matrix(focal: Tensor, principal: Tensor, aspect: float = 1.0, skew: float = 0.0) -> Tensor:
    """Camera matrices [N, 3, 3] of focal lengths across [N] and principal points [N, 2], in pixels.

    Parameters
    ----------
    aspect, skew: the focal length down, and the skew, over the focal length across.
    """
    zero, one = torch.zeros_like(focal), torch.ones_like(focal)
    entries = [focal, focal * skew, principal[:, 0], zero, focal * aspect, principal[:, 1], zero, zero, one]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))
