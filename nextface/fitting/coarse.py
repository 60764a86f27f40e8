"""Stage 1: identity, and each photo's pose, expression and focal length, by least squares on landmarks.

The unknowns are few and the residuals smooth, so a trust-region solver converges in tens of steps. The
identity is a nuisance here, held by its prior: without it, expressions would have to explain the shape of
the person's face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy import sparse
from scipy.optimize import least_squares
from torch import Tensor

from nextface.fitting.observation import Observation
from nextface.geometry import rotation_matrix
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.reconstruction import Reconstruction
from nextface.scene import Scene

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
        return cls(origin.cpu(), basis_identity.cpu(), basis_expression.cpu())  # where the solver runs

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions [L, 3] in model space, mm."""
        return self.origin + self.identity @ identity + self.expression @ expression


def landmark_points(vertices: Tensor, model: FaceModel, embedding: LandmarkEmbedding) -> Tensor:
    """Landmark positions [N, L, 3] on vertices [N, V, 3]."""
    corners = vertices[:, model.triangles[embedding.triangles]]
    return (corners * embedding.barycentric[..., None].to(vertices)).sum(2)


def landmark_weights(scene: Scene, embedding: LandmarkEmbedding) -> Tensor:
    """Trust [L] in each landmark under the pose of a scene of one photo.

    Points of the face's outline lie where the photo's outline is, not on fixed skin: they count only on the
    side that the camera sees, and less the more the surface turns away.
    """
    vertex = scene.mesh.triangles[embedding.triangles, 0]
    normals = scene.camera.rotate(scene.mesh.normals)[0, vertex]
    rays = torch.nn.functional.normalize(scene.camera.transform(scene.mesh.vertices)[0, vertex], dim=-1)
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


@dataclass(frozen=True)
class _PhotoProblem:
    """What one photo's landmarks ask of its unknowns: identity [K], pose [7] and expression [E], in a row.

    A pose is rotation [3] (axis-angle), translation [3] (100 mm) and the logarithm of the focal length over its
    prior mean.
    """

    observation: Observation
    surface: LandmarkSurface
    observed: Tensor  # [L, 2] pixels
    weights: Tensor  # [L]
    principal: Tensor  # [2] pixels
    expression_prior: Tensor  # [E]
    expression_spread: float
    focal_spread: float

    def residuals(self, unknown: Tensor) -> Tensor:
        """Landmark offsets and the priors of this photo's own unknowns, in standard deviations."""
        shapes = self.surface.identity.shape[-1]
        identity, pose, expression = unknown[:shapes], unknown[shapes : shapes + 7], unknown[shapes + 7 :]
        points = self.surface.points(identity, expression) @ rotation_matrix(pose[:3]).mT + pose[3:6] * 100
        pixels = points[:, :2] / points[:, 2:] * (self.observation.focal * pose[6].exp()) + self.principal
        crowding = max(float(self.weights.sum()) / INDEPENDENT_LANDMARKS, 1.0) ** 0.5
        error = LANDMARK_ERROR * self.observation.face_size * crowding
        offsets = (pixels - self.observed) * (self.weights.sqrt() / error)[:, None]
        expression = (expression - self.expression_prior) / self.expression_spread
        return torch.cat([offsets.flatten(), expression, pose[6:7] / self.focal_spread])


def fit_landmarks(
    reconstruction: Reconstruction,
    observations: Sequence[Observation],
    embeddings: Sequence[LandmarkEmbedding],
    max_steps: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
) -> Reconstruction:
    """The reconstruction with identity and, for each photo, pose, focal length and expression fitted.

    All photos are fitted together, because an identity that explains them all is known better than the
    identities that would explain each.

    Parameters
    ----------
    reconstruction: the start; its focal lengths, identity and expressions are kept as the start.
    embeddings: where each photo's detector puts its points on the model.
    max_steps: upper bound of solver steps over all linearisations.
    optimize_focal: whether focal lengths may leave their prior means.
    progress: called with the cost after each evaluation.
    """
    model = reconstruction.model
    low, high = model.expression_bounds
    shapes, expressions = model.identity_size, len(model.expression_names)
    identity = reconstruction.parameters.identity[0].double().cpu()
    faces = reconstruction.parameters.expression.double().cpu().clamp(low + 1e-4, high - 1e-4)
    parts = [identity]
    for photo, (seen, embedding) in enumerate(zip(observations, embeddings, strict=True)):
        parts += [_start_pose(reconstruction[photo], seen, embedding), faces[photo]]
    solution = torch.cat(parts)
    lower, upper = torch.full_like(solution, -torch.inf), torch.full_like(solution, torch.inf)
    for bound, depth, face in ((lower, DISTANCE_RANGE[0], low), (upper, DISTANCE_RANGE[1], high)):
        own = bound[shapes:].view(len(observations), 7 + expressions)
        own[:, 5] = depth / 100
        own[:, 7:] = face
    current = reconstruction
    for _ in range(LINEARISATIONS):
        current = _with_solution(current, solution, observations)
        problems = [
            _problem(current[photo], seen, embedding, optimize_focal)
            for photo, (seen, embedding) in enumerate(zip(observations, embeddings, strict=True))
        ]
        system = _JointSystem(problems, shapes, 7 + expressions, progress)
        found = least_squares(
            system.residuals,
            solution.numpy(),
            jac=system.jacobian,
            bounds=(lower.numpy(), upper.numpy()),
            x_scale="jac",
            loss="huber",
            f_scale=2.0,
            ftol=1e-5,
            max_nfev=max(max_steps // LINEARISATIONS, 1),
        )
        solution = torch.from_numpy(found.x)
    return _with_solution(current, solution, observations)


@dataclass(frozen=True)
class _JointSystem:
    """Residuals of all photos and of the identity, over the identity and then each photo's own unknowns."""

    problems: Sequence[_PhotoProblem]
    shapes: int  # unknowns of the identity
    own: int  # unknowns of each photo
    progress: Callable[[float], None]

    def residuals(self, vector: np.ndarray) -> np.ndarray:
        """Every residual; the identity's prior comes first."""
        parts = [problem.residuals(unknown) for problem, unknown in self._unknowns(vector)]
        values = torch.cat([torch.from_numpy(vector[: self.shapes]), *parts])
        self.progress(0.5 * float(values @ values))
        return values.numpy()

    def jacobian(self, vector: np.ndarray) -> np.ndarray | sparse.csr_array:
        """Their derivatives, sparse for several photos: no photo feels another's pose."""
        blocks = [
            torch.func.jacfwd(problem.residuals)(unknown).numpy() for problem, unknown in self._unknowns(vector)
        ]
        rows: list[list[np.ndarray | None]] = [[np.eye(self.shapes)] + [None] * len(blocks)]
        for photo, block in enumerate(blocks):
            apart: list[np.ndarray | None] = [None] * len(blocks)
            apart[photo] = block[:, self.shapes :]
            rows.append([block[:, : self.shapes], *apart])
        joined = sparse.block_array(rows, format="csr")
        return joined.toarray() if len(blocks) == 1 else joined

    def _unknowns(self, vector: np.ndarray) -> Iterator[tuple[_PhotoProblem, Tensor]]:
        values = torch.from_numpy(vector)
        for photo, problem in enumerate(self.problems):
            start = self.shapes + photo * self.own
            yield problem, torch.cat([values[: self.shapes], values[start : start + self.own]])


def _start_pose(alone: Reconstruction, observation: Observation, embedding: LandmarkEmbedding) -> Tensor:
    """A pose [7] of one photo's face, within the distances that are allowed."""
    parameters = alone.parameters
    surface = LandmarkSurface.around(alone.model, embedding, parameters.identity[0], parameters.expression[0])
    points = surface.points(parameters.identity[0].double().cpu(), parameters.expression[0].double().cpu())
    observed = observation.landmarks[embedding.indices].double().cpu()
    rotation, translation = initial_pose(points, observed, alone.camera().intrinsics[0].cpu())
    pose = torch.from_numpy(np.concatenate([rotation, translation / 100, [0.0]]))
    depth = pose[5].clamp(DISTANCE_RANGE[0] / 100 + 1, DISTANCE_RANGE[1] / 100 - 1)
    pose[3:6] = pose[3:6] * depth / pose[5]
    return pose


def _problem(
    alone: Reconstruction, observation: Observation, embedding: LandmarkEmbedding, optimize_focal: bool
) -> _PhotoProblem:
    """One photo's problem, linearised around its present state."""
    model, parameters = alone.model, alone.parameters
    prior = [observation.blendshapes.get(name, 0.0) * 0.5 for name in model.expression_names]
    return _PhotoProblem(
        observation,
        LandmarkSurface.around(model, embedding, parameters.identity[0], parameters.expression[0]),
        observation.landmarks[embedding.indices].double().cpu(),
        landmark_weights(alone.scene(), embedding).double().cpu(),
        alone.frames[0].principal[0].double().cpu(),
        torch.tensor(prior).double(),
        BLENDSHAPE_SPREAD if model.expression_bounds == (0.0, 1.0) else 1.0,
        observation.focal_spread if optimize_focal else 1e-4,
    )


def _with_solution(
    reconstruction: Reconstruction, solution: Tensor, observations: Sequence[Observation]
) -> Reconstruction:
    old = reconstruction.parameters
    shapes = old.identity.shape[1]
    own = solution[shapes:].view(len(observations), -1)
    focal = torch.tensor([np.log(seen.focal) for seen in observations]).double()
    return reconstruction.with_parameters(
        replace(
            old,
            rotation=own[:, :3].to(old.rotation),
            translation=own[:, 3:6].to(old.translation) * 100,
            focal=(focal + own[:, 6]).to(old.focal),
            identity=solution[None, :shapes].to(old.identity),
            expression=own[:, 7:].to(old.expression),
        )
    )
