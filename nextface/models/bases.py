"""A face model as offsets of vertices: what file formats of meshes, and programs that pose them, can carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nextface.models.face_model import FaceModel
from nextface.models.slopes import shape_slopes

EYEBALLS = ("sclera", "eyes")  # regions that lie on the eyeballs' spheres, the better one first
FLAT = 1e-3  # of the longest extent: points that are closer to a plane or a circle say no sphere


@dataclass(frozen=True)
class ModelBases:
    """One identity of a face model at rest, and how it moves from there."""

    neutral: Tensor  # [V, 3] mm, the expression at rest
    modes: Tensor  # [K, V, 3] mm a standard deviation of each identity coefficient
    expressions: Mapping[
        str, Tensor
    ]  # name -> [V, 3] mm that a coordinate adds to `neutral` at its upper bound
    reach: Mapping[str, float]  # name -> how far that bound is from rest, in the coordinate's unit
    regions: Mapping[str, Tensor]  # name -> [V] bool
    eye_centres: Mapping[str, Tensor]  # "left", "right" (the subject's) -> [3] mm; empty without such a region


@torch.no_grad()
def model_bases(model: FaceModel, identity: Tensor | None = None) -> ModelBases:
    """The bases around an identity [K], the mean where absent.

    Of a linear model, `neutral` and sums of offsets are all its faces, and offsets are the same for everybody.
    Of another, modes are derivatives, and an expression is exact alone and at its bound.
    """
    prior = model.expression_prior
    if identity is None:
        identity = torch.zeros(model.identity_size).to(prior.mean)
    neutral = neutral_vertices(model, identity[None])[0]
    if model.linear:
        people = identity + torch.eye(len(identity)).to(identity)
        modes = model.vertices(people, prior.mean.expand(len(people), -1)) - neutral
    else:
        modes = shape_slopes(model, identity, prior.mean)[..., : len(identity)].permute(2, 0, 1)
    reach = prior.high - prior.mean
    names = model.expression_names
    return ModelBases(
        neutral,
        modes,
        dict(zip(names, expression_offsets(model, identity), strict=True)),
        dict(zip(names, reach.tolist(), strict=True)),
        model.regions,
        _eye_centres(neutral, model.regions),
    )


def expression_offsets(model: FaceModel, identity: Tensor) -> Tensor:
    """What each expression coordinate, at its upper bound, adds to an identity [K] at rest: [E, V, 3] mm."""
    prior = model.expression_prior
    moods = prior.mean + (prior.high - prior.mean).diag()
    return model.vertices(identity.expand(len(moods), -1), moods) - neutral_vertices(model, identity[None])[0]


def neutral_vertices(model: FaceModel, identity: Tensor) -> Tensor:
    """Vertices [1, V, 3] (mm) of an identity [1, K] at rest."""
    return model.vertices(identity, model.expression_prior.mean[None].to(identity))


def vertex_count(model: FaceModel) -> int:
    """How many vertices a model has; its last ones may be in no triangle."""
    nobody = torch.zeros(1, model.identity_size, device=model.triangles.device)
    with torch.no_grad():
        return neutral_vertices(model, nobody).shape[1]


def in_regions(model: FaceModel, names: Iterable[str]) -> Tensor:
    """Which vertices [V] bool are in any of some regions, of which a model may lack some."""
    inside = torch.zeros(vertex_count(model), dtype=torch.bool, device=model.triangles.device)
    for name in names:
        if name in model.regions:
            inside |= model.regions[name]
    return inside


def _eye_centres(vertices: Tensor, regions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    region = next((regions[name] for name in EYEBALLS if name in regions), None)
    if region is None:
        return {}
    sides = {"left": region & (vertices[:, 0] > 0), "right": region & (vertices[:, 0] < 0)}
    centres = {side: sphere_centre(vertices[chosen]) for side, chosen in sides.items()}
    return {side: centre for side, centre in centres.items() if centre is not None}


def sphere_centre(points: Tensor) -> Tensor | None:
    """The centre [3] of the sphere that lies nearest to points [P, 3], or None where they lie in a plane.

    Least squares in the squared distance, which is linear: |p|^2 = 2 c.p + k.
    """
    places = points.double().cpu().numpy()
    if len(places) < 4:
        return None
    middle = places.mean(0)
    places = places - middle
    size = max(float(np.abs(places).max()), np.finfo(float).tiny)
    places = places / size
    columns = np.column_stack([2 * places, np.ones(len(places))])
    centre, _, rank, _ = np.linalg.lstsq(columns, (places**2).sum(1), rcond=FLAT)
    return None if rank < 4 else torch.from_numpy(centre[:3] * size + middle).to(points)
