"""A face model with joints as its files bring it; what they lack, `nextface/completion/` gives it.

Shape and expression are linear, pose correctives are linear in the joints' rotation matrices, and linear blend
skinning turns the joints: Loper et al., "SMPL", 2015, equations 2 to 10; Li et al. (FLAME), 2017, 1 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.models.joints import skinned
from nextface.models.linear_shape import LinearShape
from nextface.models.vertex_albedo import LooksOfFiles, VertexAlbedo
from nextface.scene.geometry import rotation_matrix

AXES = ("x", "y", "z")
# Angles about x, y and z (radians) by what a joint's name holds: mean, spread, low, high.
ANGLES: Mapping[str, Sequence[tuple[float, float, float, float]]] = {
    "jaw": ((0.02, 0.10, -0.05, 0.60), (0.0, 0.03, -0.15, 0.15), (0.0, 0.02, -0.10, 0.10)),
    "eye": ((0.0, 0.10, -0.40, 0.40), (0.0, 0.15, -0.60, 0.60), (0.0, 0.01, -0.03, 0.03)),
    "": ((0.0, 0.08, -0.40, 0.40), (0.0, 0.08, -0.40, 0.40), (0.0, 0.05, -0.25, 0.25)),  # neck, head
}


@dataclass
class SkinnedHead(LooksOfFiles):
    """See `nextface.models.face_model.FaceModel` for what its members mean.

    The root joint does not turn: turning everything is what a pose is for. The others' angles follow the
    expression's components, joint by joint.
    """

    name: str
    shape: LinearShape  # before joints turn
    joint_mean: Tensor  # [J, 3] mm, centres of rotation on the mean shape
    joint_identity: Tensor  # [K, J, 3] mm a standard deviation
    joint_expression: Tensor  # [E', J, 3] mm; of the components, without the angles
    parents: tuple[int, ...]  # J, -1 for the root, which comes first
    weights: Tensor  # [V, J]
    correctives: Tensor  # [9 (J - 1), V, 3] mm for each entry of the turned joints' matrices less the identity
    joint_names: tuple[str, ...]  # J
    component_names: tuple[str, ...]  # E'
    component_prior: ExpressionPrior
    triangles: Tensor  # [F, 3] int64
    uvs: Tensor | None = None  # [T, 2]
    uv_triangles: Tensor | None = None  # [F, 3] int64
    mirror: Tensor | None = None  # [V] int64
    regions: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [V] bool
    albedo: VertexAlbedo | None = None  # what the files bring

    identity_size: int = field(init=False)
    albedo_size: int = field(init=False)
    expression_names: tuple[str, ...] = field(init=False)
    expression_prior: ExpressionPrior = field(init=False)

    def __post_init__(self) -> None:
        self.identity_size = len(self.shape.identity_basis)
        turning = self.joint_names[1:]
        self.expression_names = (
            *self.component_names,
            *(f"{name} {axis}" for name in turning for axis in AXES),
        )
        self.expression_prior = ExpressionPrior.joined(
            [self.component_prior, *(_angle_prior(name).to(self.weights.device) for name in turning)]
        )
        self.look(len(self.shape.mean), self.weights.device)

    @property
    def linear(self) -> bool:
        """Joints turn along arcs."""
        return False

    def joints(self, identity: Tensor, components: Tensor | None = None) -> Tensor:
        """Centres of rotation [N, J, 3] (mm) of identity [N, K] and components of expression [N, E']."""
        moved = torch.einsum("nk,kja->nja", identity, self.joint_identity.to(identity))
        if components is not None:
            moved = moved + torch.einsum("ne,eja->nja", components, self.joint_expression.to(identity))
        return self.joint_mean.to(identity) + moved

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices [N, V, 3] (mm) of identity [N, K] and expression [N, E] coefficients."""
        components, angles = expression.split(
            [len(self.component_names), expression.shape[1] - len(self.component_names)], 1
        )
        components = components.to(identity)
        still = self.shape.vertices(identity, components)
        turns = angles.to(identity).unflatten(1, (len(self.joint_names) - 1, 3))
        matrices = rotation_matrix(turns.flatten(0, 1)) - torch.eye(3).to(identity)
        features = matrices.flatten(1).reshape(len(identity), -1)
        still = torch.addmm(still.flatten(1), features, self.correctives.flatten(1).to(identity)).view_as(still)
        root = torch.zeros_like(turns[:, :1])
        return skinned(
            still, self.joints(identity, components), self.parents, self.weights, torch.cat([root, turns], 1)
        )

    def to(self, device: str) -> SkinnedHead:
        """The same model with its tensors on another device."""
        shape = LinearShape(*(getattr(self.shape, part.name).to(device) for part in fields(self.shape)))
        return replace(self, **self.moved(device), shape=shape)


def _angle_prior(joint: str) -> ExpressionPrior:
    ranges = next(found for name, found in ANGLES.items() if name in joint.lower())
    mean, spread, low, high = torch.tensor(ranges).T
    return ExpressionPrior(mean, spread, low, high)
