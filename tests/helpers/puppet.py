"""A face model that is not linear: the sheet of `fixture_model` with a jaw that turns.

It has two UV charts that are no mirror images of each other, no mirror map, and landmarks of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from fixture_model import MOODS, SIZE, Sheet, make_sheet
from scipy.spatial import cKDTree
from torch import Tensor

from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import LandmarkEmbedding, Reflectance
from nextface.models.joints import skinned
from nextface.models.open_head import load_open_head
from nextface.surfaces.uv_layout import into_unit_square

JAW = len(MOODS)  # the first of its three angles among the coordinates of the expression


@dataclass
class Puppet:
    """The nonlinear model; see `nextface.models.face_model.FaceModel` for what its members mean."""

    sheet: Sheet
    jaw: Tensor  # [3] mm, where it turns
    jaw_weights: Tensor  # [V, 1]
    uvs: Tensor | None
    uv_triangles: Tensor | None
    embedding: LandmarkEmbedding
    expression_prior: ExpressionPrior
    triangles: Tensor

    name: str = "puppet"
    identity_size: int = SIZE
    albedo_size: int = 0
    expression_names: tuple[str, ...] = (*Sheet.expression_names, "jaw x", "jaw y", "jaw z")
    mirror: Tensor | None = None
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    linear: bool = False

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Vertices [N, V, 3] in mm."""
        still = self.sheet.vertices(identity, expression[:, :JAW])
        joint = self.jaw.to(still).expand(len(still), 1, 3)
        return skinned(still, joint, [-1], self.jaw_weights, expression[:, None, JAW:])

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """The sheet's skin."""
        return self.sheet.reflectance(albedo)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """The open head's points, at the nearest vertices."""
        return self.embedding if detector == self.embedding.detector else None

    def to(self, device: str) -> Puppet:
        """The same model on another device."""
        names = ("sheet", "jaw", "jaw_weights", "uvs", "uv_triangles", "expression_prior", "triangles")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def make_puppet() -> Puppet:
    """Hang a jaw into the sheet, where the open head's mouth opens."""
    head, sheet = load_open_head(), make_sheet()
    moved = head.expression_basis[head.expression_names.index("jawOpen")].norm(dim=1)
    near = torch.from_numpy(cKDTree(head.mean.numpy()).query(sheet.mean.numpy())[1])
    weights = (moved[near] / moved.max() * 1.2).clamp(max=1)
    jaw = head.mean[head.regions["ears"]].mean(0) * torch.tensor([0.0, 1, 1]) + torch.tensor([0.0, -10, 15])
    prior = ExpressionPrior(
        torch.tensor([0.05, 0, 0]),
        torch.tensor([0.12, 0.03, 0.03]),
        torch.tensor([-0.05, -0.1, -0.1]),
        torch.tensor([0.6, 0.1, 0.1]),
    )
    uvs, uv_triangles = _charts(sheet)
    return Puppet(
        sheet,
        jaw,
        weights[:, None],
        uvs,
        uv_triangles,
        _embedding(sheet),
        ExpressionPrior.joined([ExpressionPrior.components(JAW), prior]),
        sheet.triangles,
    )


def _charts(sheet: Sheet) -> tuple[Tensor, Tensor]:
    """The sheet around its vertical axis, cut to the right of the nose: UVs of two charts side by side."""
    x, y, z = sheet.mean.unbind(1)
    around = torch.atan2(x, z)
    u = (around - around.min()) / (around.max() - around.min())
    v = (y - y.min()) / (y.max() - y.min())
    first = torch.stack([0.02 + 0.75 * u, 0.05 + 0.9 * v], 1)
    second = torch.stack([0.56 + 1.05 * (u - 0.6), 0.1 + 0.8 * v], 1)
    right = u[sheet.triangles].mean(1) > 0.62
    return into_unit_square(torch.cat([first, second])), sheet.triangles + len(u) * right[:, None]


def _embedding(sheet: Sheet) -> LandmarkEmbedding:
    head = load_open_head()
    known = head.landmarks("mediapipe")
    assert known is not None
    points = landmark_points(head.mean[None], head, known)[0]
    vertex = torch.from_numpy(cKDTree(sheet.mean.numpy()).query(points.numpy())[1])
    triangle = torch.stack([(sheet.triangles == one).any(1).int().argmax() for one in vertex])
    corner = (sheet.triangles[triangle] == vertex[:, None]).float()
    return replace(known, triangles=triangle, barycentric=corner, errors=None)
