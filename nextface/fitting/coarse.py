"""Stage 1: pose, expression, identity and focal length from landmarks, by nonlinear least squares.

The unknowns are few and the residuals smooth, so a trust-region solver converges in tens of steps. The
identity is a nuisance here, held by its prior: without it, expressions would have to explain the shape of
the person's face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from nextface.fitting.observation import Observation
from nextface.geometry import rotation_matrix
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.reconstruction import Reconstruction

DISTANCE_RANGE = (250.0, 3000.0)  # mm, camera to the head's origin
LANDMARK_ERROR = 0.012  # standard deviation of a landmark, as a fraction of the face's size
INDEPENDENT_LANDMARKS = 100  # neighbouring landmarks err together: no set counts for more than this
BLENDSHAPE_SPREAD = 0.25  # standard deviation of a blendshape weight
LINEARISATIONS = 2  # the surface is linear in the coefficients for most models; jaws that rotate need a second


@dataclass(frozen=True)
class LandmarkSurface:
    """The landmarks' 3D positions as an affine function of the coefficients, around a given face."""

    origin: Tensor  # [L, 3] mm
    identity: Tensor  # [L, 3, identity_size] mm a standard deviation
    expression: Tensor  # [L, 3, E] mm a unit

    @classmethod
    def around(
        cls, model: FaceModel, embedding: LandmarkEmbedding, identity: Tensor, expression: Tensor
    ) -> LandmarkSurface:
        """Linearise a model at identity [identity_size] and expression [E], exactly if it is linear."""
        step = 0.1
        shapes = identity.shape[0]
        changes = torch.eye(shapes + expression.shape[0], device=identity.device) * step
        changes = torch.cat([torch.zeros_like(changes[:1]), changes])
        points = landmark_points(
            model.vertices(identity + changes[:, :shapes], expression + changes[:, shapes:]), model, embedding
        )
        slopes = ((points[1:] - points[0]) / step).permute(1, 2, 0).double()
        basis_identity, basis_expression = slopes[..., :shapes], slopes[..., shapes:]
        origin = (
            points[0].double() - basis_identity @ identity.double() - basis_expression @ expression.double()
        )
        return cls(origin, basis_identity, basis_expression)

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions [L, 3] in model space, mm."""
        return self.origin + self.identity @ identity + self.expression @ expression


def landmark_points(vertices: Tensor, model: FaceModel, embedding: LandmarkEmbedding) -> Tensor:
    """Landmark positions [N, L, 3] on vertices [N, V, 3]."""
    corners = vertices[:, model.triangles[embedding.triangles]]
    return (corners * embedding.barycentric[..., None].to(vertices)).sum(2)


def landmark_weights(reconstruction: Reconstruction, embedding: LandmarkEmbedding) -> Tensor:
    """Trust [N, L] in each landmark under the current pose.

    Points of the face's outline lie where the photo's outline is, not on fixed skin: they count only on the
    side that the camera sees, and less the more the surface turns away.
    """
    scene = reconstruction.scene()
    normals = scene.camera.rotate(scene.mesh.normals)[:, reconstruction.model.triangles[embedding.triangles, 0]]
    rays = torch.nn.functional.normalize(
        scene.camera.transform(scene.mesh.vertices)[:, reconstruction.model.triangles[embedding.triangles, 0]],
        dim=-1,
    )
    facing = (-(normals * rays).sum(-1)).clamp(0, 1)
    return embedding.weights.to(facing) * torch.where(embedding.contour, facing, torch.ones_like(facing))


def initial_pose(points: Tensor, observed: Tensor, intrinsics: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Rotation [3] and translation [3] (mm) of model points [L, 3] seen at pixels [L, 2] (SQPnP)."""
    found, rotation, translation = cv2.solvePnP(
        points.double().numpy(),
        observed.double().numpy(),
        intrinsics.double().numpy(),
        None,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not found or translation[2] <= 0:
        rotation, translation = np.array([np.pi, 0.0, 0.0]), np.array([0.0, 0.0, 600.0])
    return rotation.ravel(), translation.ravel()


def fit_landmarks(
    reconstruction: Reconstruction,
    observation: Observation,
    embedding: LandmarkEmbedding,
    max_steps: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
) -> Reconstruction:
    """One photo's reconstruction with pose, focal length, expression and identity fitted to its landmarks.

    Parameters
    ----------
    reconstruction: the start (N = 1); its focal length, identity and expression are kept as the start.
    embedding: where the detector's points lie on the model.
    max_steps: upper bound of solver steps over all linearisations.
    optimize_focal: whether the focal length may leave its prior mean.
    progress: called with the cost after each evaluation.
    """
    model = reconstruction.model
    observed = observation.landmarks[embedding.indices].double()
    identity = reconstruction.parameters.identity[0].double()
    expression = reconstruction.parameters.expression[0].double()
    low, high = model.expression_bounds
    principal = reconstruction.frame.principal[0].double()
    camera = reconstruction.camera()
    surface = LandmarkSurface.around(model, embedding, identity.float(), expression.float())
    start = initial_pose(surface.points(identity, expression), observed, camera.intrinsics[0])
    pose = torch.tensor(np.concatenate([start[0], start[1] / 100, [0.0]]))
    depth = pose[5].clamp(DISTANCE_RANGE[0] / 100 + 1, DISTANCE_RANGE[1] / 100 - 1)
    pose[3:6] = pose[3:6] * depth / pose[5]
    shapes = identity.shape[0]
    prior = torch.tensor(
        [observation.blendshapes.get(name, 0.0) * 0.5 for name in model.expression_names]
    ).double()
    spread = BLENDSHAPE_SPREAD if (low, high) == (0.0, 1.0) else 1.0
    focal_spread = observation.focal_spread if optimize_focal else 1e-4
    current = reconstruction
    for _ in range(LINEARISATIONS):
        current = _with_solution(current, pose, identity, expression, observation.focal)
        weights = landmark_weights(current, embedding)[0].double()
        error = (
            LANDMARK_ERROR
            * observation.face_size
            * max(float(weights.sum()) / INDEPENDENT_LANDMARKS, 1.0) ** 0.5
        )
        surface = LandmarkSurface.around(model, embedding, identity.float(), expression.float())

        def residuals(
            unknown: Tensor, surface: LandmarkSurface = surface, weights: Tensor = weights, error: float = error
        ) -> Tensor:
            shape, face = unknown[7 : 7 + shapes], unknown[7 + shapes :]
            points = surface.points(shape, face) @ rotation_matrix(unknown[:3]).mT + unknown[3:6] * 100
            pixels = points[:, :2] / points[:, 2:] * (observation.focal * unknown[6].exp()) + principal
            offsets = (pixels - observed) * (weights.sqrt() / error)[:, None]
            return torch.cat([offsets.flatten(), shape, (face - prior) / spread, unknown[6:7] / focal_spread])

        def evaluate(vector: np.ndarray, residuals: Callable[[Tensor], Tensor] = residuals) -> np.ndarray:
            values = residuals(torch.from_numpy(vector))
            progress(0.5 * float(values @ values))
            return values.numpy()

        jacobian = torch.func.jacfwd(residuals)
        start_vector = torch.cat([pose, identity, expression.clamp(low + 1e-4, high - 1e-4)]).numpy()
        lower = np.full(start_vector.shape, -np.inf)
        upper = np.full(start_vector.shape, np.inf)
        lower[5], upper[5] = DISTANCE_RANGE[0] / 100, DISTANCE_RANGE[1] / 100
        lower[7 + shapes :], upper[7 + shapes :] = low, high
        solution = least_squares(
            evaluate,
            start_vector,
            jac=lambda vector, jacobian=jacobian: jacobian(torch.from_numpy(vector)).numpy(),
            bounds=(lower, upper),
            x_scale="jac",
            loss="huber",
            f_scale=2.0,
            ftol=1e-5,
            max_nfev=max(max_steps // LINEARISATIONS, 1),
        )
        found = torch.from_numpy(solution.x)
        pose, identity, expression = found[:7], found[7 : 7 + shapes], found[7 + shapes :]
    return _with_solution(current, pose, identity, expression, observation.focal)


def _with_solution(
    reconstruction: Reconstruction, pose: Tensor, identity: Tensor, expression: Tensor, focal: float
) -> Reconstruction:
    old = reconstruction.parameters
    return reconstruction.with_parameters(
        replace(
            old,
            rotation=pose[None, :3].to(old.rotation),
            translation=pose[None, 3:6].to(old.translation) * 100,
            focal=(np.log(focal) + pose[6:7]).to(old.focal),
            identity=identity[None].to(old.identity),
            expression=expression[None].to(old.expression),
        )
    )
