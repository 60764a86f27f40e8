"""A face model that shares nothing with the shipped one but the protocol.

It is a sheet: the outermost surface of the open head on a grid of angles around the vertical axis and heights,
as a laser scanner would see it. So it has another topology, eyes and lips grown into the skin, an open back, a
few principal components in place of blendshapes, and no UVs, symmetry, regions, albedo statistics or shipped
landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor

from nextface.models.expression_prior import ExpressionPrior
from nextface.models.face_model import LandmarkEmbedding, Reflectance
from nextface.models.linear_shape import LinearShape
from nextface.models.open_head import OpenHead, load_open_head
from nextface.scene.raster import rasterize

COLUMNS, ROWS = 120, 110  # of the grid
WIDEST_ANGLE = 125.0  # degrees to either side of the face
SIZE = 10  # principal components of identity
MOODS = (  # expressions, each a mixture of the open head's shapes at one standard deviation
    {"mouthSmileLeft": 0.2, "mouthSmileRight": 0.2, "cheekSquintLeft": 0.1, "cheekSquintRight": 0.1},
    {"jawOpen": 0.15},
    {"browInnerUp": 0.2, "browOuterUpLeft": 0.2, "browOuterUpRight": 0.2},
    {"mouthPucker": 0.2, "mouthFunnel": 0.1},
    {"mouthFrownLeft": 0.2, "mouthFrownRight": 0.2, "browDownLeft": 0.1, "browDownRight": 0.1},
)


@dataclass
class Sheet(LinearShape):
    """The fixture model; see `nextface.models.face_model.FaceModel` for what its members mean."""

    triangles: Tensor  # [F, 3] int64
    colour: Tensor  # [V, 3]

    name: str = "sheet"
    identity_size: int = SIZE
    albedo_size: int = 0
    expression_names: tuple[str, ...] = tuple(f"mood {number}" for number in range(len(MOODS)))
    expression_prior: ExpressionPrior = field(init=False)
    uvs: Tensor | None = None
    uv_triangles: Tensor | None = None
    mirror: Tensor | None = None
    regions: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.expression_prior = ExpressionPrior.components(len(MOODS)).to(self.mean.device)

    def reflectance(self, albedo: Tensor) -> Reflectance:
        """The same skin for everybody: coefficients [N, 0] say nothing."""
        one = torch.ones(albedo.shape[0], len(self.mean), 1, device=self.mean.device)
        return Reflectance(self.colour[None] * one, 0.03 * one, 0.5 * one)

    def landmarks(self, detector: str) -> LandmarkEmbedding | None:
        """None: they must be found."""
        return None

    def to(self, device: str) -> Sheet:
        """The same model on another device."""
        moved = {part.name: getattr(self, part.name).to(device) for part in fields(self)[:5]}
        return replace(self, **moved)


def make_sheet() -> Sheet:
    """Scan the open head."""
    head = load_open_head()
    triangle, weights, kept = scan(head, COLUMNS, ROWS)

    def scanned(values: Tensor) -> Tensor:
        """Values [..., V, C] of the head's vertices at the sheet's."""
        corners = values[..., head.triangles[triangle], :]
        return (corners * weights[..., None]).sum(-2)

    moods = torch.tensor([[mood.get(name, 0.0) for name in head.expression_names] for mood in MOODS])
    moved = (moods @ head.expression_basis.flatten(1)).unflatten(1, head.mean.shape)
    colour = head.reflectance(torch.zeros(1, head.albedo_size)).diffuse[0]
    return Sheet(
        scanned(head.mean),
        scanned(head.identity_basis[:SIZE]),
        scanned(moved),
        grid_triangles(kept),
        scanned(colour),
    )


def scan(head: OpenHead, columns: int, rows: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Which triangle, and where in it, each of the sheet's vertices shows; which grid points [R, C] hit any."""
    x, y, z = head.mean.unbind(1)
    radius, angle = (x**2 + z**2).sqrt(), torch.atan2(x, z)
    skin = head.regions["skin"]
    low, high = y[skin].min(), y[skin & (z > 0)].max()
    widest = np.radians(WIDEST_ANGLE)
    column = (angle / widest + 1) / 2 * columns
    row = (high - y) / (high - low) * rows
    around = angle[head.triangles]
    near_seam = (
        around.amax(1) - around.amin(1)
    ) > np.pi  # triangles behind the head, wrapped around by the angle
    fragments = rasterize(
        torch.stack([column, row], 1), 1000 - radius, head.triangles[~near_seam], columns, rows
    )
    kept = fragments.covered.numpy()
    number = (~near_seam).nonzero()[:, 0]
    return number[fragments.triangle[fragments.covered]], fragments.barycentric[fragments.covered], kept


def grid_triangles(kept: np.ndarray) -> Tensor:
    """Two triangles for every cell of the grid whose corners are all there, with alternating diagonals."""
    number = np.full(kept.shape, -1)
    number[kept] = np.arange(kept.sum())
    triangles = []
    for row in range(kept.shape[0] - 1):
        for column in range(kept.shape[1] - 1):
            a, b = number[row, column : column + 2]
            d, c = number[row + 1, column : column + 2]
            if min(a, b, c, d) < 0:
                continue
            triangles += [(a, d, b), (b, d, c)] if (row + column) % 2 else [(a, d, c), (a, c, b)]
    used, compact = np.unique(triangles, return_inverse=True)
    assert len(used) == kept.sum(), "every vertex belongs to a triangle"
    return torch.from_numpy(compact.reshape(-1, 3))
