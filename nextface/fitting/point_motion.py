"""How points and normals of a face move in the photo with shape, pose and focal length, to first order."""

from __future__ import annotations

import torch
from torch import Tensor

from nextface.geometry import rotation_matrix
from nextface.models.face_model import FaceModel
from nextface.scene import Camera

POSE = (
    ("rotation",) * 3 + ("translation",) * 3 + ("focal",)
)  # after the shape's columns: radians, mm, logarithm
DIFFERENCE = (
    0.1  # of a coefficient: the step of differences, with which models that are not linear are linearised
)


@torch.no_grad()
def shape_basis(model: FaceModel, identity: Tensor, expression: Tensor) -> Tensor:
    """How vertices move [V, 3, K + E] in mm with identity [K] and expression [E], around these coefficients."""
    shapes = len(identity)
    changes = torch.eye(shapes + len(expression), device=identity.device) * DIFFERENCE
    origin = model.vertices(identity[None], expression[None])
    moved = model.vertices(identity + changes[:, :shapes], expression + changes[:, shapes:])
    return ((moved - origin) / DIFFERENCE).permute(1, 2, 0).contiguous()


def image_motion(camera: Camera, points: Tensor, basis: Tensor) -> Tensor:
    """Motion [Q, 2, K + 7] in pixels of points [Q, 3] (model space, mm) with a basis [Q, 3, K] and `POSE`."""
    shift = torch.eye(3).to(points).expand(len(points), 3, 3)
    motion = torch.cat([_turned(camera, points, basis), shift], 2)
    x, y, depth = camera.transform(points[None])[0].unbind(1)
    flat = torch.stack([x / depth, y / depth], 1)[..., None]
    focal = camera.intrinsics[0, [0, 1], [0, 1]][:, None]
    return torch.cat([(motion[:, :2] - flat * motion[:, 2:]) / depth[:, None, None], flat], 2) * focal


def turn_motion(camera: Camera, normals: Tensor, basis: Tensor) -> Tensor:
    """Change [Q, 3, K + 7], in the camera frame, of normals [Q, 3] with their basis [Q, 3, K] and `POSE`."""
    turned = _turned(camera, normals, basis)
    return torch.cat([turned, turned.new_zeros(len(turned), 3, 4)], 2)


def _turned(camera: Camera, vectors: Tensor, basis: Tensor) -> Tensor:
    """The change [Q, 3, K + 3] of turned vectors with their basis and with the rotation's axis-angle."""
    rotation = camera.rotation[0]
    # Not torch.func: its vmap takes a second to import.
    by_angle = torch.autograd.functional.jacobian(
        rotation_matrix, rotation
    )  # [3, 3, 3], the last being the angle
    return torch.cat([rotation_matrix(rotation) @ basis, torch.einsum("abk,qb->qak", by_angle, vectors)], 2)
