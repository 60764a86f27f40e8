"""A person's head at rest and its offsets by expression, in metres: what engines call morph targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nextface.export.head.parts import Part, head_parts
from nextface.export.head.tangents import corner_tangents
from nextface.models.bases import model_bases
from nextface.person.reconstruction import Reconstruction
from nextface.scene.geometry import vertex_normals

METRES = 1e-3  # a millimetre


@dataclass(frozen=True)
class PosablePart:
    """One part at rest and its offsets; positions are metres from `pivot`, x right, y up, z to the viewer."""

    name: str
    pivot: Tensor  # [3] metres, in the head's frame
    positions: Tensor  # [P, 3] metres
    normals: Tensor  # [P, 3] unit length
    tangents: Tensor | None  # [P, 4] xyz towards increasing u, w the sign of the bitangent; None without UVs
    uvs: Tensor | None  # [P, 2] u right, v up
    vertex: Tensor  # [P] int64, each corner's vertex of the model
    triangles: Tensor  # [F, 3] int64
    offsets: Mapping[str, Tensor]  # by expression, [P, 3] metres that its full weight adds to positions
    normal_offsets: Mapping[str, Tensor]  # by expression, [P, 3] that it adds to normals


@dataclass(frozen=True)
class PosableHead:
    """All parts, each with the same expressions in the same order."""

    parts: tuple[PosablePart, ...]
    weights: Mapping[str, float]  # by expression, as in the photo; 1 is the coordinate's upper bound


@torch.no_grad()
def posable_head(reconstruction: Reconstruction, photo: int = 0) -> PosableHead:
    """The person's head; the weights are those of one photo.

    With these weights it is the photo's face, exactly where the face model is linear.
    """
    single = reconstruction[photo]
    model, identity = single.model, single.parameters.identity[0]
    bases = model_bases(model, identity)
    rest = vertex_normals(bases.neutral[None], model.triangles)[0]
    turned = {
        name: vertex_normals((bases.neutral + offset)[None], model.triangles)[0] - rest
        for name, offset in bases.expressions.items()
    }
    parts = tuple(
        _posable(part, bases.neutral, rest, bases.expressions, turned) for part in head_parts(model, bases)
    )
    moved = single.parameters.expression[0] - model.expression_prior.mean
    weights = {
        name: float(value) / bases.reach[name]
        for name, value in zip(model.expression_names, moved, strict=True)
    }
    return PosableHead(parts, weights)


def _posable(
    part: Part,
    neutral: Tensor,
    normals: Tensor,
    offsets: Mapping[str, Tensor],
    turned: Mapping[str, Tensor],
) -> PosablePart:
    """A part of vertices [V, 3] in mm with their normals [V, 3], and what expressions add to both."""
    positions, across = (neutral[part.vertex] - part.pivot) * METRES, normals[part.vertex]
    tangents = None if part.uvs is None else corner_tangents(positions, across, part.uvs, part.triangles)
    return PosablePart(
        part.name,
        part.pivot * METRES,
        positions,
        across,
        tangents,
        part.uvs,
        part.vertex,
        part.triangles,
        {name: offset[part.vertex] * METRES for name, offset in offsets.items()},
        {name: offset[part.vertex] for name, offset in turned.items()},
    )
