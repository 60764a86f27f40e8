"""Where the surface is: distances in mm, the distance to the camera, and landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.alignment import Similarity, Surface
from benchmarks.ground_truth.record import GroundTruth
from benchmarks.scoring.frames import scene_of_photo
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.landmarks.embedding.compute import BEHIND_SKIN, EYES
from nextface.landmarks.topology import MEDIAPIPE
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.lighting import fibonacci_directions
from nextface.scene.raster import interpolate, rasterize
from renderers.renderer import ShadowCaster

RADIUS = 95.0  # mm around the nose's tip
NEAR = 65.0  # mm around it: the inner face
POINTS = 8000  # of the true skin near the nose, those inside of nostrils and mouth still among them
POINTS_TO_ALIGN = 3000
RAYS = 32  # from each point, which tell whether it lies open
OPEN = 0.3  # of what a point sees, weighted with the cosine: below is a cavity
ABOVE = 0.1  # mm over the surface, where rays start
FEWEST_LANDMARKS = 6  # that place a head


@dataclass(frozen=True)
class GeometryScore:
    """Distances of true skin to the reconstructed outer skin."""

    median: float  # mm of the truth, after the best similarity
    mean: float
    near_median: float  # the median within `NEAR` of the nose's tip
    metric_median: float  # mm, after the best rigid motion
    metric_mean: float
    scale: float  # of the reconstruction, against the truth
    camera: float  # error of the distance from the camera to the nose's tip, relative


@dataclass(frozen=True)
class TrueFace:
    """The skin of a ground-truth photo that is measured."""

    points: np.ndarray  # [P, 3] mm, camera frame, spread evenly over the surface
    nose_tip: np.ndarray  # [3] mm
    landmarks: np.ndarray  # [478, 3] mm, on the surface that the photo shows; NaN where nothing is known
    with_eyes: bool = False  # whether some of the points lie on the eyeballs, as those of a scan do

    @classmethod
    def of(cls, truth: GroundTruth, caster: ShadowCaster) -> TrueFace:
        """The skin within `RADIUS` of the nose's tip that lies open: not in nostrils, nor behind the lips."""
        away = np.linalg.norm(truth.vertices - truth.nose_tip, axis=1)
        near = (truth.skin & (away < RADIUS))[truth.triangles].all(1)
        mesh = trimesh.Trimesh(truth.vertices, truth.triangles, process=False)
        points, triangle = trimesh.sample.sample_surface(mesh, POINTS, mesh.area_faces * near, seed=0)
        is_open = openness(truth, points, mesh.face_normals[triangle], caster) > OPEN
        return cls(np.asarray(points)[is_open], truth.nose_tip.astype(float), _on_surface(truth))


def openness(truth: GroundTruth, points: np.ndarray, normals: np.ndarray, caster: ShadowCaster) -> np.ndarray:
    """How much of their hemispheres points [P, 3] with normals [P, 3] see past the head, by cosine: [P]."""
    vertices = torch.from_numpy(truth.vertices).float()[None]
    one = torch.ones(1, vertices.shape[1], 1)
    pose = torch.zeros(1, 3)
    height, width = truth.visible_skin.shape
    scene = Scene(
        Mesh.from_vertices(vertices, torch.from_numpy(truth.triangles).long()),
        Material(one.expand(-1, -1, 3), 0 * one, one),
        Environment(torch.ones(1, 4, 8, 3)),
        Camera(torch.from_numpy(truth.intrinsics)[None].float(), pose, pose, width, height),
    )
    reached = caster.occlusion(scene)
    normal = torch.from_numpy(np.array(normals)).float()
    start = torch.from_numpy(np.array(points)).float() + ABOVE * normal
    # A point of the unit sphere about the tip of the normal: cosine-weighted directions.
    ways = [normalize(normal + way, dim=1) for way in fibonacci_directions(RAYS).float()]
    return torch.stack([reached(start, way).float() for way in ways]).mean(0).cpu().numpy()


def _on_surface(truth: GroundTruth) -> np.ndarray:
    """The places [478, 3] (mm) that the photo shows at the landmarks' pixels; NaN where there are none."""
    height, width = truth.visible_skin.shape
    vertices = torch.from_numpy(truth.vertices).double()
    triangles = torch.from_numpy(truth.triangles).long()
    image = vertices @ torch.from_numpy(truth.intrinsics).double().T
    fragments = rasterize(image[:, :2] / image[:, 2:], vertices[:, 2], triangles, width, height)
    places = interpolate(fragments, triangles, vertices).numpy()
    found = np.full((len(truth.landmarks), 3), np.nan)
    known = np.flatnonzero(np.isfinite(truth.landmarks).all(1))
    column, row = np.floor(truth.landmarks[known]).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    known, column, row = known[inside], column[inside], row[inside]
    covered = fragments.covered.numpy()[row, column]
    found[known[covered]] = places[row[covered], column[covered]]
    return found


def outer_skin(model: FaceModel, with_eyes: bool = False) -> Tensor:
    """The triangles [F', 3] of a model's outer skin and, if asked, eyes: no sockets, nothing in the mouth."""
    behind = torch.zeros(int(model.triangles.max()) + 1, dtype=torch.bool)
    for name in BEHIND_SKIN:
        if name in model.regions and not (with_eyes and name in EYES):
            behind |= model.regions[name]
    return model.triangles[~behind[model.triangles].all(1)]


def score_geometry(
    truth: TrueFace, reconstruction: Reconstruction, embedding: LandmarkEmbedding
) -> GeometryScore:
    """How far the reconstructed head of one photo is from the true one.

    The truth is laid on the reconstruction: first its landmarks, then its skin by iterative closest points.
    """
    model, camera = reconstruction.model, reconstruction.camera()
    vertices = reconstruction.vertices()
    surface = Surface(
        camera.transform(vertices)[0].double().numpy(), outer_skin(model, truth.with_eyes).numpy()
    )
    targets = camera.transform(landmark_points(vertices, model, embedding))[0].double().numpy()
    start = _placed_by_landmarks(truth, targets, embedding)
    some = truth.points[:: max(1, len(truth.points) // POINTS_TO_ALIGN)]
    similar = surface.aligned(some, start)
    rigid = surface.aligned(some, Similarity.between(some, similar(some), scaled=False), scaled=False)
    apart, metric = (
        surface.nearest(moved).distances(moved) / motion.scale
        for motion, moved in ((motion, motion(truth.points)) for motion in (similar, rigid))
    )
    tip = similar(truth.nose_tip[None])[0]
    near = np.linalg.norm(truth.points - truth.nose_tip, axis=1) < NEAR
    return GeometryScore(
        float(np.median(apart)),
        float(apart.mean()),
        float(np.median(apart[near])),
        float(np.median(metric)),
        float(metric.mean()),
        similar.scale,
        float(np.linalg.norm(tip) / np.linalg.norm(truth.nose_tip) - 1),
    )


def _placed_by_landmarks(truth: TrueFace, targets: np.ndarray, embedding: LandmarkEmbedding) -> Similarity:
    """The similarity from true landmarks to those of the reconstruction [L, 3], the face's outline left out."""
    points = truth.landmarks[embedding.indices.numpy()]
    used = np.isfinite(points).all(1) & ~embedding.contour.numpy()
    if used.sum() < FEWEST_LANDMARKS:
        raise ValueError(f"{used.sum()} landmarks of the truth are seen; {FEWEST_LANDMARKS} are needed")
    return Similarity.between(points[used], targets[used])


def landmark_error(truth: GroundTruth, reconstruction: Reconstruction, embedding: LandmarkEmbedding) -> float:
    """Median distance of landmarks in the photo, over the distance between the outer corners of the eyes.

    Where one of these corners is hidden, the reconstruction tells their distance. The outline does not count:
    its points lie on no fixed skin.
    """
    height, width = truth.visible_skin.shape
    camera = scene_of_photo(reconstruction, width, height).camera
    places = landmark_points(reconstruction.vertices(), reconstruction.model, embedding)
    points = np.full_like(truth.landmarks, np.nan, dtype=float)
    points[embedding.indices.numpy()] = camera.project(places)[0].double().numpy()
    corners = [MEDIAPIPE.right_eye[0], MEDIAPIPE.left_eye[0]]
    eyes = np.linalg.norm(np.subtract(*truth.landmarks[corners]))
    if not np.isfinite(eyes):
        eyes = np.linalg.norm(np.subtract(*points[corners]))
    compared = embedding.indices[~embedding.contour].numpy()
    errors = np.linalg.norm((points - truth.landmarks)[compared], axis=1)
    return float(np.nanmedian(errors) / eyes)
