"""Which point of a face model is which of the embedded head: found once for each model, then kept.

The head's mean is bent onto the model's (`nextface/surfaces/registration.py`), guided by what a landmark
detector sees in pictures of both. Parts that a model names (eyes, teeth, ...) correspond to the head's own;
where it has none of them, its surface corresponds to whatever of the head lies nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nextface.landmarks.embedding.compute import places_of_points
from nextface.landmarks.embedding.views import Draw, detector_points
from nextface.landmarks.topology import MEDIAPIPE
from nextface.model_files.cache import Arrays, fingerprint, kept
from nextface.models.bases import neutral_vertices, sphere_centre
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.surfaces.nearest import Surface, vertex_normals
from nextface.surfaces.registration import Guides, Head, bend

FORMAT = "2"  # of what is kept; raise it when correspondence is found differently
DETECTORS = ("mediapipe", "fan")  # whose points are carried
DETECTOR = "opencv"  # looks everywhere alike
VIEWS = ((0, 0), (-15, 0), (15, 0))  # degrees of yaw and pitch
DISAGREEMENT = 3.0  # mm between views that halve the trust in a guide
INNER = ("eyes", "teeth", "tongue", "mouth", "eye_sockets")  # parts beside the outer skin, the narrower first


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a mesh."""

    triangles: Tensor  # [P] int64
    barycentric: Tensor  # [P, 3]
    distance: Tensor  # [P] mm, how far they lie from what they stand for

    def of(self, values: Tensor, triangles: Tensor) -> Tensor:
        """Values [..., P, C] of vertices' values [..., V, C] at these points of a mesh [F, 3]."""
        corners = values[..., triangles[self.triangles], :]
        return (corners * self.barycentric.to(values)[..., None]).sum(-2)


@dataclass(frozen=True)
class Correspondence:
    """Where the vertices of a model and of the embedded head lie on each other."""

    on_head: SurfacePoints  # of each vertex of the model
    on_model: SurfacePoints  # of each vertex of the head
    landmarks: Mapping[str, SurfacePoints]  # on the model: the head's embedded points of each detector


def find_correspondence(model: FaceModel, head: FaceModel, draw: Draw) -> Correspondence:
    """Kept from before, or found, which takes some ten seconds.

    Parameters
    ----------
    draw: draws a mean face for the detector.

    Raises
    ------
    FaceNotFoundError: the detector sees no face in pictures of the model.
    """
    key = fingerprint(FORMAT, *_looked_at(model), *_looked_at(head))
    arrays = kept("correspondence", key, lambda: _found(model, head, draw))

    def stored(name: str) -> SurfacePoints:
        parts = (arrays[f"{name}_{part}"] for part in ("triangles", "barycentric", "distance"))
        return SurfacePoints(*(torch.from_numpy(part) for part in parts))

    return Correspondence(stored("on_head"), stored("on_model"), {name: stored(name) for name in DETECTORS})


def _looked_at(model: FaceModel) -> list[np.ndarray | str]:
    """What of a model decides how it corresponds."""
    parts = [
        part for name in INNER if name in model.regions for part in (name, model.regions[name].cpu().numpy())
    ]
    return [mean_face(model), model.triangles.cpu().numpy(), *parts]


def mean_face(model: FaceModel) -> np.ndarray:
    """The mean identity at rest, [V, 3] mm."""
    device = model.triangles.device
    with torch.no_grad():
        return neutral_vertices(model, torch.zeros(1, model.identity_size, device=device))[0].cpu().numpy()


def labels(regions: Mapping[str, Tensor], count: int) -> np.ndarray:
    """Which of `INNER` each of `count` vertices belongs to, -1 for the outer skin."""
    label = np.full(count, -1)
    for number, name in reversed(list(enumerate(INNER))):
        if name in regions:
            label[regions[name].cpu().numpy()] = number
    return label


def _found(model: FaceModel, head: FaceModel, draw: Draw) -> Arrays:
    ours, theirs = (_mesh(one) for one in (head, model))
    embedding = embedding_of(head, "mediapipe")
    corner, weight = (part.cpu().numpy() for part in (embedding.triangles, embedding.barycentric))
    detect = partial(detector_points, detector=DETECTOR)
    places, spread = places_of_points(model, "mediapipe", draw, detect, VIEWS)
    trusted = np.ones(MEDIAPIPE.count, bool)
    trusted[[*MEDIAPIPE.contour, *MEDIAPIPE.left_iris, *MEDIAPIPE.right_iris]] = False
    number = np.flatnonzero(trusted[embedding.indices.cpu().numpy()])
    of_point = embedding.indices.cpu().numpy()[number]
    trust = embedding.weights.cpu().numpy()[number] / (1 + (spread[of_point] / DISAGREEMENT) ** 2)
    guides = Guides(corner[number], weight[number].astype(np.float64), places[of_point], trust)
    bent = bend(ours, theirs, guides)
    labels_ours, labels_theirs = (
        labels(one.regions, len(mesh.vertices)) for one, mesh in ((head, ours), (model, theirs))
    )
    _fit_eyes(bent, labels_ours, theirs.vertices, labels_theirs)

    ours = Head(bent, ours.triangles, ours.outer)
    normals = _normals(ours)
    everything = {
        "on_head": _nearest(ours, labels_ours, theirs.vertices, _normals(theirs), labels_theirs),
        "on_model": _nearest(theirs, labels_theirs, bent, normals, labels_ours),
    }
    for detector in DETECTORS:
        embedding = embedding_of(head, detector)
        corners, weight = ours.triangles[embedding.triangles.cpu().numpy()], embedding.barycentric.cpu().numpy()
        points, towards = ((values[corners] * weight[..., None]).sum(1) for values in (bent, normals))
        everything[detector] = _nearest(theirs, labels_theirs, points, towards, labels_ours[corners[:, 0]])
    return {f"{name}_{part}": values for name, found in everything.items() for part, values in found.items()}


def embedding_of(head: FaceModel, detector: str) -> LandmarkEmbedding:
    """The embedded head's landmarks."""
    embedding = head.landmarks(detector)
    assert embedding is not None, "the embedded head ships its landmarks"
    return embedding


def _mesh(model: FaceModel) -> Head:
    vertices = mean_face(model).astype(np.float64)
    triangles = model.triangles.cpu().numpy()
    used = np.zeros(len(vertices), bool)
    used[triangles] = True
    return Head(vertices, triangles, used & (labels(model.regions, len(vertices)) < 0))


def _normals(head: Head) -> np.ndarray:
    return vertex_normals(head.vertices, head.triangles)


def _fit_eyes(bent: np.ndarray, ours: np.ndarray, vertices: np.ndarray, theirs: np.ndarray) -> None:
    """Put the head's eyeballs where the model has its own, in place and size."""
    eye = INNER.index("eyes")
    for side in (1, -1):
        mine, other = (ours == eye) & (bent[:, 0] * side > 0), (theirs == eye) & (vertices[:, 0] * side > 0)
        centres = [sphere_centre(torch.from_numpy(points)) for points in (bent[mine], vertices[other])]
        if not mine.any() or any(centre is None for centre in centres):
            continue
        middle, goal = (centre.numpy() for centre in centres if centre is not None)
        sizes = [np.median(np.linalg.norm(points - centre, axis=1))
                 for points, centre in ((bent[mine], middle), (vertices[other], goal))]  # fmt: skip
        bent[mine] = (bent[mine] - middle) * (sizes[1] / sizes[0]) + goal


def _nearest(
    mesh: Head, parts: np.ndarray, points: np.ndarray, normals: np.ndarray, wanted: np.ndarray
) -> dict[str, np.ndarray]:
    """Points of a mesh nearest to others [P, 3], each in the part of the mesh that is wanted.

    Without such a part the outer skin takes its place; and it takes in the eyes where these are not asked for
    by themselves.

    Parameters
    ----------
    parts: [V] which part of `INNER` the mesh's vertices belong to.
    wanted: [P] the same of the points.
    """
    eye = INNER.index("eyes")
    count = len(points)
    triangles, barycentric, distance = np.zeros(count, np.int64), np.zeros((count, 3)), np.zeros(count)
    corners = parts[mesh.triangles]
    there = set(corners[(corners == corners[:, :1]).all(1), 0])
    for part in np.unique(wanted):
        number = np.flatnonzero(wanted == part)
        allowed = parts == (part if part in there else -1)
        if part == -1 and eye not in wanted:
            allowed = allowed | (parts == eye)
        faces = np.flatnonzero(allowed[mesh.triangles].all(1))
        found = Surface(mesh.vertices, mesh.triangles[faces]).nearest(points[number], normals[number])
        triangles[number], barycentric[number] = faces[found.faces], found.barycentric
        distance[number] = found.distance
    return {
        "triangles": triangles,
        "barycentric": barycentric.astype(np.float32),
        "distance": distance.astype(np.float32),
    }
