"""How points and normals of a face move in the photo with shape, pose and focal length, to first order."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from nextface.scene import Camera

# Derivatives by a pose are seven columns, after those by the shape: the rotation's (radians), the translation's
# (mm) and the focal length's (its logarithm).
POSE = ("rotation",) * 3 + ("translation",) * 3 + ("focal",)


def image_motion(camera: Camera, points: Tensor, basis: Tensor) -> Tensor:
    """Motion [Q, 2, K + 7] in pixels of points [Q, 3] (model space, mm) with a basis [Q, 3, K] and `POSE`.

    In a rig the pose is the head's in the rig's frame.
    """
    shift = (torch.eye(3).to(points) if camera.mount is None else camera.mount[0]).expand(len(points), 3, 3)
    motion = torch.cat([_turned(camera, points, basis), shift], 2)
    x, y, depth = camera.transform(points[None])[0].unbind(1)
    flat = torch.stack([x / depth, y / depth], 1)[..., None]
    on_plane = torch.cat([(motion[:, :2] - flat * motion[:, 2:]) / depth[:, None, None], flat], 2)
    return camera.intrinsics[0, :2, :2] @ on_plane


def turn_motion(camera: Camera, normals: Tensor, basis: Tensor) -> Tensor:
    """Change [Q, 3, K + 7], in the camera frame, of normals [Q, 3] with their basis [Q, 3, K] and `POSE`."""
    turned = _turned(camera, normals, basis)
    return torch.cat([turned, turned.new_zeros(len(turned), 3, 4)], 2)


def normal_motion(vertices: Tensor, triangles: Tensor, motion: Tensor) -> Tensor:
    """Change [V, 3, K] of unit vertex normals as vertices [V, 3] move by `motion` [V, 3, K].

    Normals are sums of the crossed edges of `triangles` [F, 3]; a vertex with only some of its own there has
    the normal of those, and one with none does not turn.
    """
    count = len(vertices)
    first, second, third = vertices[triangles].unbind(1)
    opposite = torch.stack([second - third, third - first, first - second], 1)  # [F, 3, 3], each corner's
    crossed = torch.linalg.cross(torch.eye(3).to(vertices)[:, None, None], opposite[None], dim=-1)
    by_corner = crossed.permute(1, 2, 3, 0)  # [F, 3, 3, 3]: the sum's change by a corner's own motion
    pairs = (triangles[:, :, None] * count + triangles[:, None]).flatten()  # which turns, and which moves
    pairs, place = pairs.unique(return_inverse=True)
    blocks = vertices.new_zeros(len(pairs), 3, 3)
    blocks.index_add_(0, place, by_corner[:, None].expand(-1, 3, -1, -1, -1).flatten(0, 2))
    turning = pairs.div(count, rounding_mode="floor")
    rows = torch.searchsorted(turning, torch.arange(count + 1, device=turning.device))
    size = (3 * count, 3 * count)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse BSR", category=UserWarning)  # "is in beta state"
        by_vertex = torch.sparse_bsr_tensor(rows, pairs % count, blocks, size, check_invariants=False)
    total = (by_vertex @ motion.flatten(0, 1)).view_as(motion)
    sums = torch.linalg.cross(second - first, third - first)
    sums = torch.zeros_like(vertices).index_add_(0, triangles.flatten(), sums.repeat_interleave(3, 0))
    length = sums.norm(dim=1, keepdim=True).clamp(min=1e-12)
    normals = sums / length
    along = (normals[:, None] @ total) / length[..., None]
    return total.div_(length[..., None]).sub_(normals[..., None] * along)


def _turned(camera: Camera, vectors: Tensor, basis: Tensor) -> Tensor:
    """The change [Q, 3, K + 3] of turned vectors with their basis and with the rotation's axis-angle."""
    with torch.enable_grad():
        leaf = camera.rotation.detach().clone().requires_grad_()
        entries = replace(camera, rotation=leaf).turn.flatten().unbind()
        by_angle = torch.cat([slopes_of_sum(entry, leaf) for entry in entries]).view(3, 3, 3)
    return torch.cat([camera.turn[0] @ basis, torch.einsum("abk,qb->qak", by_angle, vectors)], 2)


def slopes_of_sum(values: Tensor, leaf: Tensor) -> Tensor:
    """The derivatives of a sum of values by a leaf that they were made of.

    Gradients of anything but a scalar, and torch.func, make torch import symbolic algebra for a second.
    """
    return torch.autograd.grad(values.sum(), leaf, retain_graph=True)[0]
