"""A detector's points on a face that is drawn from several sides, cast back to its surface."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree
from torch import Tensor

from nextface.errors import FaceNotFoundError
from nextface.landmarks.detection.faces import detect as detect_in_photo
from nextface.models.face_model import FaceModel
from nextface.photos.photo import Photo
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import intrinsic_matrix, rotation_matrix
from nextface.scene.lighting import map_directions
from nextface.scene.raster import rasterize_scene

Draw = Callable[[Scene], Tensor]  # a scene of one photo -> its image [1, H, W, 4], linear and premultiplied
Surface = Sequence[tuple[np.ndarray, np.ndarray]]  # points [P] bool and the triangles [F] bool they lie on
Detect = Callable[[np.ndarray], np.ndarray | None]  # sRGB [H, W, 3] uint8 -> points [P, 2] in pixels, if any

VIEWS = ((0, 0), (-10, 0), (10, 0), (-20, 0), (20, 0), (0, -10), (0, 10))  # degrees of yaw and pitch
RESOLUTION = 768  # pixels of the pictures
SUBDIVISION = 2  # points are cast back through a raster this much finer
DISTANCE = 700.0  # mm from the camera to the head's middle
GREY = 0.5  # sRGB value behind the head


@dataclass(frozen=True)
class Sightings:
    """The detector's points on the surface, from V views of one face."""

    points: np.ndarray  # [V, P, 3] in model space, mm
    facing: np.ndarray  # [V, P] cosine between the surface and the view
    angles: np.ndarray  # [V] degrees from the front


def look(
    model: FaceModel,
    face: np.ndarray,
    surface: Surface,
    draw: Draw,
    detect: Detect,
    views: Sequence[tuple[int, int]] = VIEWS,
) -> Sightings:
    """Detect the points in all views (degrees of yaw and pitch) of a face [V, 3] and cast them back to it."""
    points, facing, angles = [], [], []
    for yaw, pitch in views:
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
    return Sightings(np.stack(points), np.stack(facing), np.array(angles))


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
        astray = chosen & ~right[row, column]
        if astray.any() and right.any():
            rim = np.argwhere(right & ~binary_erosion(right))  # the nearest pixel of a part lies on its rim
            nearest = cKDTree(rim).query(np.stack([row[astray], column[astray]], 1))[1]
            row[astray], column[astray] = rim[nearest].T
    seen = scene.mesh.triangles.cpu().numpy()[triangle[row, column]]
    weights = fragments.barycentric.cpu().numpy()[row, column, :, None]
    normals = camera.rotate(scene.mesh.normals)[0].cpu().numpy()
    positions = camera.transform(scene.mesh.vertices)[0].cpu().numpy()
    normal, position = (weights * normals[seen]).sum(1), (weights * positions[seen]).sum(1)
    lengths = np.linalg.norm(normal, axis=1) * np.linalg.norm(position, axis=1)
    return (weights * face[seen]).sum(1), -(normal * position).sum(1) / np.maximum(lengths, 1e-12)


def detector_points(picture: np.ndarray, detector: str) -> np.ndarray | None:
    """The points [P, 2] that a detector, by its name, sees in a picture [H, W, 3] uint8; None without a face.

    Raises
    ------
    MissingPartError: if the detector is not here.
    """
    photo = Photo(Path("mean face"), picture.astype(np.float32) / 255, None)
    try:
        found = detect_in_photo(photo, detector)
    except FaceNotFoundError:
        return None
    return None if found.turns else found.landmarks.points  # the mean face is drawn upright
