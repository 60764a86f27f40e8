"""Where a detector's points lie on a face model's surface: found by looking, not typed in.

The model's mean face is drawn from several sides, the detector looks at the pictures, and its points are cast
back to the surface. This works for every model that looks like a face to the detector.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from scipy.ndimage import distance_transform_edt
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from torch import Tensor

from nextface.errors import FaceNotFoundError, MissingPartError, OutputError
from nextface.landmarks.detection.faces import detect as detect_in_photo
from nextface.landmarks.topology import TOPOLOGIES, Topology
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.photos.photo import Photo
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import intrinsic_matrix, rotation_matrix
from nextface.scene.lighting import map_directions
from nextface.scene.raster import rasterize_scene
from nextface.system.atomic import replacing
from nextface.system.caches import cache_folder

Draw = Callable[[Scene], Tensor]  # a scene of one photo -> its image [1, H, W, 4], linear and premultiplied
Surface = Sequence[tuple[np.ndarray, np.ndarray]]  # points [P] bool and the triangles [F] bool they lie on
Detect = Callable[[np.ndarray], np.ndarray | None]  # sRGB [H, W, 3] uint8 -> points [P, 2] in pixels, if any

FORMAT = 1  # of cache files; raise it when embeddings are found differently
VIEWS = ((0, 0), (-10, 0), (10, 0), (-20, 0), (20, 0), (0, -10), (0, 10))  # degrees of yaw and pitch
CONTOUR_ANGLE = 10  # degrees: the outline slides over the surface, so it is taken from views near the front
RESOLUTION = 768  # pixels of the pictures
SUBDIVISION = 2  # points are cast back through a raster this much finer
DISTANCE = 700.0  # mm from the camera to the head's middle
GREY = 0.5  # sRGB value behind the head
LEAST_FACING = 0.3  # cosine between surface and view, below which a sighting is not trusted
JAW_OPENING = 0.35  # of the expression "jawOpen", which tells the lips apart
LIP_REACH = 6.0  # mm around the mouth's opening that are looked at with the jaw opened
DISAGREEMENT = 1.5  # mm, spread between views that halves a point's weight
CONTOUR_WEIGHT = 0.3
EYES = ("eyes",)  # regions on which iris points lie
BEHIND_SKIN = (*EYES, "eye_sockets", "mouth", "teeth", "tongue")  # regions on which no other point lies
UNLIKE_COST = 1e6  # mm, for pairing points that cannot be mirror images
STORED = ("indices", "triangles", "barycentric", "weights", "contour")  # of an embedding, in files
NEIGHBOURS = 96  # triangles with the nearest centres, among which the closest is searched


@dataclass(frozen=True)
class _Sightings:
    """The detector's points on the surface, from V views of one face."""

    points: np.ndarray  # [V, P, 3] in model space, mm
    facing: np.ndarray  # [V, P] cosine between the surface and the view
    angles: np.ndarray  # [V] degrees from the front


def load_or_compute(
    model: FaceModel, detector: str, draw: Draw | None = None, cache_dir: Path | None = None
) -> LandmarkEmbedding:
    """The embedding of a detector's points in a model: shipped, cached, or computed and then cached.

    Parameters
    ----------
    detector: "mediapipe" or "fan".
    draw: draws the mean face for the detector; needed only if the embedding must be computed.
    cache_dir: where computed embeddings are kept; by default `nextface` in the user's cache folder.

    Raises
    ------
    MissingPartError: if it must be computed, and there is nothing to draw with or the detector is not here.
    FaceNotFoundError: if the detector sees no face in the pictures of the mean face.
    """
    shipped = model.landmarks(detector)
    if shipped is not None:
        return shipped
    path = (cache_dir or cache_folder()) / f"landmarks-{detector}-{_fingerprint(model)}.npz"
    embedding = _load(path, detector)
    if embedding is None:
        if draw is None:
            raise MissingPartError(
                f"The face model {model.name} has no {detector} landmarks, and no renderer was given to find "
                "them with. Pass a renderer, or fit the model once with `nextface reconstruct`."
            )
        embedding = compute_embedding(model, detector, draw, lambda picture: detector_points(picture, detector))
        _save(path, embedding)
    device = model.triangles.device
    return replace(embedding, **{name: getattr(embedding, name).to(device) for name in STORED})


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
    faces = [_face(model)]
    if "jawOpen" in model.expression_names:
        faces.append(_face(model, jawOpen=JAW_OPENING))
    seen = [_look(model, face, surface, draw, detect) for face in faces]
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
    inside = torch.zeros(int(model.triangles.max()) + 1, dtype=torch.bool, device=model.triangles.device)
    for name in names:
        if name in model.regions:
            inside |= model.regions[name]
    return inside[model.triangles].all(1).cpu().numpy()


def _look(model: FaceModel, face: np.ndarray, surface: Surface, draw: Draw, detect: Detect) -> _Sightings:
    """Detect the points in all views of a face [V, 3] and cast them back to it."""
    points, facing, angles = [], [], []
    for yaw, pitch in VIEWS:
        scene = mean_face_scene(model, torch.from_numpy(face), math.radians(yaw), math.radians(pitch))
        with torch.no_grad():
            image = draw(scene)[0].cpu()
        seen = detect(picture_of(image))
        if seen is not None:
            where, towards = _cast_back(scene, face, surface, seen)
            points.append(where)
            facing.append(towards)
            angles.append(float(max(abs(yaw), abs(pitch))))
    if not points:
        raise FaceNotFoundError(
            f"The landmark detector sees no face in pictures of the face model {model.name}, so its landmarks "
            "cannot be placed. Give the model an albedo that shows eyes, brows and lips, or ship its landmarks."
        )
    return _Sightings(np.stack(points), np.stack(facing), np.array(angles))


def mean_face_scene(model: FaceModel, face: Tensor, yaw: float, pitch: float) -> Scene:
    """The face under soft light from the front and above, turned by yaw and pitch in radians."""
    device = model.triangles.device
    turn = rotation_matrix(torch.tensor([0.0, yaw, 0.0])) @ rotation_matrix(torch.tensor([pitch, 0.0, 0.0]))
    centred = (face - (face.amax(0) + face.amin(0)) / 2) @ turn.T
    radius = float(centred.norm(dim=1).max())
    focal = torch.tensor([RESOLUTION / 2 * (DISTANCE - radius) / radius])
    camera = Camera(
        intrinsic_matrix(focal, torch.full((1, 2), RESOLUTION / 2)).to(device),
        torch.tensor([[math.pi, 0.0, 0.0]], device=device),
        torch.tensor([[0.0, 0.0, DISTANCE]], device=device),
        RESOLUTION,
        RESOLUTION,
    )
    _, up, front = map_directions(16).float().unbind(-1)
    radiance = 0.5 + (0.8 * front + 0.6 * up).clamp(min=0)
    reflectance = model.reflectance(torch.zeros(1, model.albedo_size, device=device))
    return Scene(
        Mesh.from_vertices(centred[None].to(device), model.triangles),
        Material(reflectance.diffuse, reflectance.specular, reflectance.roughness),
        Environment(radiance[None, ..., None].expand(-1, -1, -1, 3).to(device)),
        camera,
    )


def picture_of(image: Tensor) -> np.ndarray:
    """A drawn image [H, W, 4] before grey, as sRGB [H, W, 3] uint8."""
    encoded = linear_to_srgb(image[..., :3].clamp(0, 1)) + (1 - image[..., 3:]) * GREY
    return (encoded.clamp(0, 1) * 255).round().byte().numpy()


def _cast_back(
    scene: Scene, face: np.ndarray, surface: Surface, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places [P, 3] on the face [V, 3] seen at pixels [P, 2], and the cosine [P] between surface and view.

    A point that does not see its own part of the surface goes to the nearest pixel that does.
    """
    camera = scene.camera
    scale = torch.tensor([SUBDIVISION, SUBDIVISION, 1.0], device=camera.intrinsics.device)
    size = RESOLUTION * SUBDIVISION
    finer = replace(camera, intrinsics=camera.intrinsics * scale[:, None], width=size, height=size)
    fragments = rasterize_scene(replace(scene, camera=finer))
    triangle = fragments.triangle.cpu().numpy()
    column, row = np.clip((points * SUBDIVISION).astype(int), 0, size - 1).T
    for chosen, allowed in surface:
        right = np.append(allowed, False)[triangle]
        if right.any():
            rows, columns = distance_transform_edt(~right, return_distances=False, return_indices=True)
            where = row[chosen], column[chosen]
            row[chosen], column[chosen] = rows[where], columns[where]
    seen = scene.mesh.triangles.cpu().numpy()[triangle[row, column]]
    weights = fragments.barycentric.cpu().numpy()[row, column, :, None]
    normals = camera.rotate(scene.mesh.normals)[0].cpu().numpy()
    positions = camera.transform(scene.mesh.vertices)[0].cpu().numpy()
    normal, position = (weights * normals[seen]).sum(1), (weights * positions[seen]).sum(1)
    lengths = np.linalg.norm(normal, axis=1) * np.linalg.norm(position, axis=1)
    return (weights * face[seen]).sum(1), -(normal * position).sum(1) / np.maximum(lengths, 1e-12)


def _agree(sightings: _Sightings, contour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    count = min(NEIGHBOURS, len(corners))
    near = cKDTree(corners.mean(1)).query(points, k=count)[1].reshape(len(points), count)
    candidates = corners[near.ravel()].astype(np.float64)
    feet = trimesh.triangles.closest_point(candidates, np.repeat(points, count, axis=0))
    gaps = np.linalg.norm(feet.reshape(len(points), count, 3) - points[:, None], axis=-1)
    best = np.arange(len(points)) * count + gaps.argmin(1)
    weights = trimesh.triangles.points_to_barycentric(candidates[best], feet[best])
    weights = np.clip(weights, 0, None)
    return near.ravel()[best], weights / weights.sum(1, keepdims=True)


def detector_points(picture: np.ndarray, detector: str) -> np.ndarray | None:
    """The points [P, 2] that a detector, by its name, sees in a picture [H, W, 3] uint8; None without a face.

    Raises
    ------
    MissingPartError: if the detector is not here.
    """
    photo = Photo(Path("mean face"), picture.astype(np.float32) / 255, None)
    try:
        return detect_in_photo(photo, detector).landmarks.points
    except FaceNotFoundError:
        return None


def _fingerprint(model: FaceModel) -> str:
    """Changes with the mean face, its topology, its reflectance, and with how embeddings are found."""
    reflectance = model.reflectance(torch.zeros(1, model.albedo_size, device=model.triangles.device))
    parts = _face(model), model.triangles.cpu().numpy(), reflectance.diffuse.detach().cpu().numpy()
    digest = hashlib.sha256(str(FORMAT).encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _load(path: Path, detector: str) -> LandmarkEmbedding | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts: dict[str, Any] = {name: torch.from_numpy(stored[name]) for name in stored.files}
        return LandmarkEmbedding(detector, **parts)
    except (OSError, ValueError, TypeError):
        return None  # not there, or damaged: it is computed again


def _save(path: Path, embedding: LandmarkEmbedding) -> None:
    try:
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **arrays(embedding))
    except OutputError:
        pass  # a cache that cannot be written only costs time


def arrays(embedding: LandmarkEmbedding) -> dict[str, Any]:
    """The embedding's tensors by their names, for a file."""
    return {name: getattr(embedding, name).cpu().numpy() for name in STORED}
