"""Which parts a head has that engines move on their own: eyes, teeth, tongue, and the rest.

A part takes the triangles all of whose vertices lie in its region. What is left is the head, so every triangle
is in one part, and a model without regions is one part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nextface.models.bases import ModelBases
from nextface.models.face_model import FaceModel
from nextface.scene import Mesh
from nextface.scene.corners import MeshCorners

HEAD = "head"


@dataclass(frozen=True)
class Part:
    """A part's corners, one for each pair of a vertex and a UV that it uses, and their triangles."""

    name: str  # "head", "eyeLeft", "eyeRight" (the subject's), "teethUpper", "teethLower", "tongue"
    vertex: Tensor  # [P] int64, each corner's vertex of the model
    uvs: Tensor | None  # [P, 2] u right, v up
    triangles: Tensor  # [F, 3] int64, corners
    pivot: Tensor  # [3] mm, about which it turns: an eye's centre, else the model's origin


def head_parts(model: FaceModel, bases: ModelBases) -> tuple[Part, ...]:
    """The parts of a face model around one identity; parts without triangles are left out."""
    mesh = Mesh(bases.neutral[None], bases.neutral[None], model.triangles, model.uvs, model.uv_triangles)
    corners = MeshCorners.of(mesh)
    owner = torch.zeros(len(model.triangles), dtype=torch.int64)
    regions = _regions(model, bases)
    for number, region in enumerate(regions.values(), 1):
        owner[region[model.triangles].all(1)] = number
    parts = []
    for number, name in enumerate((HEAD, *regions)):
        triangles = corners.triangles[owner == number]
        if not len(triangles):
            continue
        used, renumbered = torch.unique(triangles, return_inverse=True)
        uvs = None if corners.uv is None or model.uvs is None else model.uvs[corners.uv[used]]
        pivot = bases.eye_centres.get(name.removeprefix("eye").lower(), torch.zeros(3))
        parts.append(Part(name, corners.vertex[used], uvs, renumbered, pivot))
    return tuple(parts)


def _regions(model: FaceModel, bases: ModelBases) -> Mapping[str, Tensor]:
    """The vertices [V] bool of each part but the head."""
    found = {}
    if "eyes" in model.regions:
        for side in bases.eye_centres:
            on_side = bases.neutral[:, 0] > 0 if side == "left" else bases.neutral[:, 0] < 0
            found[f"eye{side.title()}"] = model.regions["eyes"] & on_side
    if "teeth" in model.regions:
        rows = _pieces(model.triangles, model.regions["teeth"])
        rows.sort(key=lambda row: -float(bases.neutral[row, 1].mean()))
        names = ("teethUpper", "teethLower") if len(rows) == 2 else ("teeth",)
        found |= dict(zip(names, rows if len(rows) == 2 else [model.regions["teeth"]], strict=True))
    if "tongue" in model.regions:
        found["tongue"] = model.regions["tongue"]
    return found


def _pieces(triangles: Tensor, region: Tensor) -> list[Tensor]:
    """The pieces [V] bool of a region that no triangle in it joins."""
    inside = triangles[region[triangles].all(1)]
    edges = torch.cat([inside[:, :2], inside[:, 1:]]).numpy()
    count = len(region)
    graph = coo_matrix((torch.ones(len(edges)).numpy(), edges.T), shape=(count, count))
    labels = torch.from_numpy(connected_components(graph, directed=False)[1])
    return [labels == label for label in torch.unique(labels[inside])]
