"""Where a detector's points lie on a face model's surface: found by looking, not typed in.

The model's mean face is drawn from several sides, the detector looks at the pictures, and its points are cast
back to the surface. This works for every model that looks like a face to the detector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from nextface.landmarks.embedding.views import Detect, Draw, Sightings, Surface, look
from nextface.landmarks.topology import TOPOLOGIES, Topology
from nextface.models.bases import in_regions
from nextface.models.face_model import FaceModel, LandmarkEmbedding

CONTOUR_ANGLE = 10  # degrees: the outline slides over the surface, so it is taken from views near the front
LEAST_FACING = 0.3  # cosine between surface and view, below which a sighting is not trusted
JAW_OPENING = 0.35  # of the expression "jawOpen", which tells the lips apart
LIP_REACH = 6.0  # mm around the mouth's opening that are looked at with the jaw opened
DISAGREEMENT = 1.5  # mm, spread between views that halves a point's weight
CONTOUR_WEIGHT = 0.3
EYES = ("eyes",)  # regions on which iris points lie
BEHIND_SKIN = (*EYES, "eye_sockets", "mouth", "teeth", "tongue")  # regions on which no other point lies
UNLIKE_COST = 1e6  # mm, for pairing points that cannot be mirror images
NEIGHBOURS = 96  # triangles with the nearest centres, among which the closest is searched


def compute_embedding(model: FaceModel, detector: str, draw: Draw, detect: Detect) -> LandmarkEmbedding:
    """Find where a detector's points lie on the mean face.

    Lips that touch cannot be told apart in space, so points around the mouth's opening are taken from a face
    with the jaw opened, where the model has an expression "jawOpen". Models with a mirror map get a
    symmetric embedding.

    Parameters
    ----------
    detector: whose topology the points have, "mediapipe" or "fan".
    draw: draws a scene under its light.
    detect: finds the points in a picture; None where it sees no face.

    Raises
    ------
    FaceNotFoundError: if no face is seen in any view.
    """
    topology = TOPOLOGIES[detector]
    contour = np.isin(np.arange(topology.count), topology.contour)
    surface = _surface_of_points(model, topology)
    faces = faces_to_look_at(model)
    seen = [look(model, face, surface, draw, detect) for face in faces]
    places, spreads = zip(*(_agree(sightings, contour) for sightings in seen), strict=True)
    if model.mirror is not None:
        partner = _mirror_partners(places, contour)
        places = tuple(_symmetrised(points, partner) for points in places)
        spreads = tuple(np.where(partner >= 0, (spread + spread[partner]) / 2, spread) for spread in spreads)

    by_mouth = cKDTree(places[0][list(topology.lips_inner)]).query(places[0])[0] < LIP_REACH
    triangle = np.zeros(topology.count, np.int64)
    barycentric = np.zeros((topology.count, 3))
    for points, allowed in surface:
        number = np.flatnonzero(allowed)
        for pose, near in ((0, ~by_mouth), (-1, by_mouth)):
            index = np.flatnonzero(points & near)
            corners = faces[pose][model.triangles.cpu().numpy()[number]]
            found, barycentric[index] = _closest(corners, places[pose][index])
            triangle[index] = number[found]
    spread = np.where(by_mouth, spreads[-1], spreads[0])
    trust = np.where(contour, CONTOUR_WEIGHT, 1.0) / (1 + (spread / DISAGREEMENT) ** 2)
    return LandmarkEmbedding(
        detector,
        torch.arange(topology.count),
        torch.from_numpy(triangle),
        torch.from_numpy(barycentric).float(),
        torch.from_numpy(trust).float(),
        torch.from_numpy(contour),
    )


def places_of_points(
    model: FaceModel, detector: str, draw: Draw, detect: Detect, views: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Where a detector's points lie on the mean face at rest: places [P, 3] and how far views disagree [P], mm.

    Raises
    ------
    FaceNotFoundError: if no face is seen in any view (degrees of yaw and pitch).
    """
    topology = TOPOLOGIES[detector]
    surface = _surface_of_points(model, topology)
    sightings = look(model, _face(model), surface, draw, detect, views)
    return _agree(sightings, np.isin(np.arange(topology.count), topology.contour))


def faces_to_look_at(model: FaceModel) -> list[np.ndarray]:
    """The mean face [V, 3] (mm) at rest and, where the model has such an expression, with its jaw opened."""
    faces = [_face(model)]
    if "jawOpen" in model.expression_names:
        faces.append(_face(model, jawOpen=JAW_OPENING))
    return faces


def _face(model: FaceModel, **expression: float) -> np.ndarray:
    """Vertices [V, 3] of the mean identity at rest, but for an expression, mm."""
    weights = model.expression_prior.mean.clone()
    for name, value in expression.items():
        weights[model.expression_names.index(name)] = value
    return model.vertices(weights.new_zeros(1, model.identity_size), weights[None])[0].cpu().numpy()


def _surface_of_points(model: FaceModel, topology: Topology) -> Surface:
    """Iris points lie on the eyes, all others on the skin, as far as the model tells these apart."""
    on_eyes = np.isin(np.arange(topology.count), topology.right_iris + topology.left_iris)
    eyes, behind_skin = _inside(model, EYES), _inside(model, BEHIND_SKIN)
    return (on_eyes, eyes if eyes.any() else ~eyes), (~on_eyes, ~behind_skin)


def _inside(model: FaceModel, names: Sequence[str]) -> np.ndarray:
    """[F] bool, triangles inside the regions together, as far as the model has them."""
    inside: np.ndarray = in_regions(model, names)[model.triangles].all(1).cpu().numpy()
    return inside


def _agree(sightings: Sightings, contour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median places [P, 3] over the views that can be trusted, and the median distance [P] to them, in mm."""
    usable = sightings.facing > LEAST_FACING
    usable &= ~contour | (sightings.angles <= max(CONTOUR_ANGLE, sightings.angles.min()))[:, None]
    usable |= ~usable.any(0)
    points = np.where(usable[..., None], sightings.points, np.nan)
    place = np.nanmedian(points, axis=0)
    return place, np.nanmedian(np.linalg.norm(points - place, axis=-1), axis=0)


def _mirror_partners(places: Sequence[np.ndarray], contour: np.ndarray) -> np.ndarray:
    """For each point [P] the one that is its mirror image in x = 0 in all faces; -1 where none is.

    Points of the outline have partners among themselves.
    """
    cost = np.where(contour[:, None] == contour, 0.0, UNLIKE_COST)
    for points in places:
        cost = cost + np.linalg.norm(points[:, None] * np.array([-1.0, 1.0, 1.0]) - points, axis=-1)
    _, partner = linear_sum_assignment(cost)
    return np.where(partner[partner] == np.arange(len(partner)), partner, -1)


def _symmetrised(points: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """Points [P, 3], each moved half-way to the mirror image of its partner, if it has one."""
    mirrored = points[partner] * np.array([-1.0, 1.0, 1.0])
    return np.where((partner >= 0)[:, None], (points + mirrored) / 2, points)


def _closest(corners: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The triangle [P] of corners [F, 3, 3] closest to each point [P, 3], and its corners' weights [P, 3]."""
    import trimesh  # takes longer than all of this module; most runs find a shipped embedding

    count = min(NEIGHBOURS, len(corners))
    near = cKDTree(corners.mean(1)).query(points, k=count)[1].reshape(len(points), count)
    candidates = corners[near.ravel()].astype(np.float64)
    feet = trimesh.triangles.closest_point(candidates, np.repeat(points, count, axis=0))
    gaps = np.linalg.norm(feet.reshape(len(points), count, 3) - points[:, None], axis=-1)
    best = np.arange(len(points)) * count + gaps.argmin(1)
    weights = trimesh.triangles.points_to_barycentric(candidates[best], feet[best])
    weights = np.clip(weights, 0, None)
    return near.ravel()[best], weights / weights.sum(1, keepdims=True)
