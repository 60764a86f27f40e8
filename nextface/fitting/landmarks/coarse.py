"""Stage 1: identity, and each photo's pose, expression and focal length, by least squares on landmarks.

The unknowns are few and the residuals smooth, so a trust-region solver converges in tens of steps. The
identity is a nuisance here, held by its prior: without it, expressions would have to explain the shape of
the person's face.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from nextface.fitting.terms.elimination import GroupEquations, minimiser
from nextface.fitting.terms.landmark_errors import LandmarkWhitening
from nextface.fitting.terms.point_motion import image_motion
from nextface.fitting.terms.shot_on_model import ShotOnModel, landmark_points
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.models.slopes import shape_slopes
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Sharing
from nextface.photos.shot import LensPrior
from nextface.scene import Camera
from nextface.scene.geometry import pose_matrix, pose_of

DISTANCE_RANGE = (250.0, 3000.0)  # mm, camera to the head's origin
OUTLIER_SIGMAS = 2.0  # residuals beyond this many standard deviations count linearly, not squared
AT_BOUND = 1e-4  # unknowns this near to a bound stand still, and none starts nearer
UNKNOWNS = ("identity", "rotation", "translation", "focal", "expression")  # of one photo, in their order
MERGES = 2  # of what several photos say of what they share; the second is a small correction
LINEARISATIONS = 2  # of landmarks that lie on a linear model: their trust follows the pose
CURVED_LINEARISATIONS = 5  # where joints turn


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
        if not model.linear:
            return cls._around_curved(model, embedding, identity, expression)
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

    @classmethod
    def _around_curved(
        cls, model: FaceModel, embedding: LandmarkEmbedding, identity: Tensor, expression: Tensor
    ) -> LandmarkSurface:
        """The same where slopes change from place to place."""

        def shown(vertices: Tensor) -> Tensor:
            return landmark_points(vertices, model, embedding)

        slopes = shape_slopes(model, identity, expression, shown).double().cpu()
        here = shown(model.vertices(identity[None], expression[None]))[0].double().cpu()
        origin = here - slopes @ torch.cat([identity, expression]).double().cpu()
        by_identity, by_expression = slopes.split([len(identity), len(expression)], -1)
        return cls(origin, by_identity, by_expression)

    def points(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Positions [L, 3] in model space, mm."""
        return self.origin + self.identity @ identity + self.expression @ expression


def initial_pose(points: Tensor, observed: Tensor, intrinsics: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Pose [3] and translation [3] (mm) of model points [L, 3] seen at pixels [L, 2] (SQPnP)."""
    try:
        found, rotation, translation = cv2.solvePnP(
            points.double().numpy(),
            observed.double().numpy(),
            intrinsics.double().numpy(),
            None,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # its own checks fail where points are seen nearly in parallel, as through a long lens
        found = False
    if not found or translation[2] <= 0:
        return np.zeros(3), np.array([0.0, 0.0, 600.0])
    matrix = torch.from_numpy(cv2.Rodrigues(rotation)[0])
    return pose_of(matrix).numpy(), translation.ravel()


def fit_landmarks(
    reconstruction: Reconstruction,
    shots: Sequence[ShotOnModel],
    max_steps: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
) -> Reconstruction:
    """The reconstruction with identity and, for each photo, pose, focal length and expression fitted.

    Several photos are fitted one by one. Then what they share, such as the identity, takes the values that
    explain all of them best: what each photo's residuals say of it, to second order and with the photo's own
    unknowns eliminated (the Schur complement of its normal equations), is added up. The photos' own unknowns
    follow it.

    Parameters
    ----------
    reconstruction: the start; its focal lengths, identity and expressions are kept as the start.
    max_steps: upper bound of solver steps for one photo, over all linearisations.
    optimize_focal: whether focal lengths may leave their prior means.
    progress: called with a photo's cost after each evaluation.
    """
    count = len(reconstruction)
    linearisations = LINEARISATIONS if reconstruction.model.linear else CURVED_LINEARISATIONS
    steps = max(max_steps // linearisations, 1)
    singles = [reconstruction[photo] for photo in range(count)]
    start = [_start_pose(one, shot) for one, shot in zip(singles, shots, strict=True)]
    singles = [
        _with_solution(one, torch.cat([one.parameters.identity[0].double().cpu(), pose]), shot.lens)
        for one, pose, shot in zip(singles, start, shots, strict=True)
    ]

    def problems() -> list[_LandmarkProblem]:
        """Every photo's problem, linearised around its present state."""
        return [_problem(one, shot, optimize_focal) for one, shot in zip(singles, shots, strict=True)]

    for _ in range(linearisations):
        singles = [
            _with_solution(one, _solved(problem, _solution(one, problem), steps, progress), problem.lens)
            for one, problem in zip(singles, problems(), strict=True)
        ]
    sharing = reconstruction.sharing
    shared = sharing.common(UNKNOWNS)
    for _ in range(MERGES if shared else 0):
        posed = problems()
        unknown = [_solution(one, problem) for one, problem in zip(singles, posed, strict=True)]
        unknown = _merged(posed, unknown, sharing, shared)
        singles = [
            _with_solution(one, _solved(problem, vector, steps, progress, shared), problem.lens)
            for one, problem, vector in zip(singles, posed, unknown, strict=True)
        ]
    return reconstruction.with_parameters(sharing.joined([one.parameters for one in singles]))


@dataclass(frozen=True)
class _LandmarkProblem:
    """What one photo's landmarks ask of its unknowns: identity [K], pose [7] and expression [E], in a row.

    A pose is rotation [3] (as `pose_matrix` takes it), translation [3] (100 mm) and the logarithm of the focal
    length over its prior mean.
    """

    lens: LensPrior
    surface: LandmarkSurface
    observed: Tensor  # [L, 2] pixels
    whitening: LandmarkWhitening
    state: Reconstruction  # of this photo alone, for its frame and its place in a rig
    expression_prior: Tensor  # [E]
    expression_spread: Tensor  # [E]
    expression_bounds: tuple[np.ndarray, np.ndarray]  # [E] lowest, [E] highest
    focal_spread: float

    def camera(self, pose: Tensor) -> Camera:
        """What sees the head with a pose [7]."""
        focal = self.lens.focal * pose[6:7].exp()
        return self.state.camera_at(pose[None, :3], pose[None, 3:6] * 100, focal)

    def residuals(self, unknown: Tensor) -> Tensor:
        """Landmark offsets and the priors of this photo's own unknowns, in standard deviations."""
        shapes = self.surface.identity.shape[-1]
        identity, pose, expression = unknown[:shapes], unknown[shapes : shapes + 7], unknown[shapes + 7 :]
        pixels = self.camera(pose).project(self.surface.points(identity, expression)[None])[0]
        offsets = self.whitening.residuals(pixels - self.observed)
        expression = (expression - self.expression_prior) / self.expression_spread
        return torch.cat([offsets.flatten(), expression, pose[6:7] / self.focal_spread])

    def jacobian(self, unknown: Tensor) -> Tensor:
        """Derivatives [R, K + 7 + E] of the residuals."""
        shapes = self.surface.identity.shape[-1]
        identity, pose, expression = unknown[:shapes], unknown[shapes : shapes + 7], unknown[shapes + 7 :]
        basis = torch.cat([self.surface.identity, self.surface.expression], 2)
        motion = image_motion(self.camera(pose), self.surface.points(identity, expression), basis)
        by_identity, by_expression, by_pose = motion.split([shapes, len(expression), 7], 2)
        by_pose = by_pose * torch.tensor([1.0, 1, 1, 100, 100, 100, 1]).double()
        offsets = self.whitening.slopes(torch.cat([by_identity, by_pose, by_expression], 2))
        priors = torch.zeros(len(expression) + 1, len(unknown)).double()
        priors[:-1, shapes + 7 :] = (1 / self.expression_spread).diag()
        priors[-1, shapes + 6] = 1 / self.focal_spread
        return torch.cat([offsets.flatten(0, 1), priors])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest values of the unknowns."""
        size = self.surface.identity.shape[-1] + 7 + len(self.expression_prior)
        lower, upper = np.full(size, -np.inf), np.full(size, np.inf)
        depth, faces = size - len(self.expression_prior) - 2, size - len(self.expression_prior)
        lower[depth], upper[depth] = DISTANCE_RANGE[0] / 100, DISTANCE_RANGE[1] / 100
        lower[faces:], upper[faces:] = self.expression_bounds
        return lower, upper

    def chosen(self, names: Sequence[str]) -> Tensor:
        """Numbers [S] of the unknowns that belong to some parameters, in these parameters' order."""
        sizes = (self.surface.identity.shape[-1], 3, 3, 1, len(self.expression_prior))
        places = dict(zip(UNKNOWNS, torch.arange(sum(sizes)).split(sizes), strict=True))
        return torch.cat([torch.arange(0), *(places[name] for name in names)])

    def about(
        self, shared: Sequence[str], unknown: Tensor, shares: Mapping[str, float]
    ) -> tuple[Tensor, Tensor]:
        """Precision matrix [S, S] of what is shared, and that times its best value [S], from this photo alone.

        To second order around the unknowns, with the photo's own ones eliminated where they are free to move.

        Parameters
        ----------
        shared: names of parameters. Where the identity is one of them, its prior is left out.
        shares: by parameter, the part of its prior that this photo carries.
        """
        place, size = self.chosen(shared), len(unknown)
        jacobian, residuals = self.jacobian(unknown), self.residuals(unknown)
        priors = len(self.expression_prior) + 1
        jacobian[-priors:-1] *= shares["expression"] ** 0.5
        residuals[-priors:-1] *= shares["expression"] ** 0.5
        jacobian[-1] *= shares["focal"] ** 0.5
        residuals[-1] *= shares["focal"] ** 0.5
        jacobian, residuals = (
            values * (OUTLIER_SIGMAS / residuals.abs().clamp(min=OUTLIER_SIGMAS)).sqrt().view(-1, *[1] * dims)
            for values, dims in ((jacobian, 1), (residuals, 0))
        )
        lower, upper = (torch.from_numpy(bound) for bound in self.bounds())
        free = (unknown > lower + AT_BOUND) & (unknown < upper - AT_BOUND)
        free[place] = False
        if "identity" not in shared:
            identity = self.chosen(["identity"])
            jacobian = torch.cat([torch.eye(len(identity), size).double(), jacobian])
            residuals = torch.cat([unknown[identity], residuals])
        common, own = jacobian[:, place], jacobian[:, free]
        solved = torch.linalg.solve(own.mT @ own, own.mT @ torch.cat([common, residuals[:, None]], 1))
        precision = common.mT @ (common - own @ solved[:, :-1])
        gradient = common.mT @ (residuals - own @ solved[:, -1])
        return precision, precision @ unknown[place] - gradient


def _merged(
    problems: Sequence[_LandmarkProblem], unknown: Sequence[Tensor], sharing: Sharing, shared: Sequence[str]
) -> list[Tensor]:
    """All photos' unknowns, with the values of those shared that fit all photos and the identity's prior."""
    place = problems[0].chosen(shared)
    sizes = {name: len(problems[0].chosen([name])) for name in shared}
    parts = []
    for photo, (problem, vector) in enumerate(zip(problems, unknown, strict=True)):
        shares = {name: sharing.share(name, photo) for name in UNKNOWNS}
        precision, weighted = problem.about(shared, vector, shares)
        if "identity" in shared and photo in sharing.firsts("identity"):
            precision[: sizes["identity"], : sizes["identity"]] += torch.eye(sizes["identity"]).double()
        parts.append(GroupEquations(sharing.groups_of(sizes, photo), precision, -weighted))
    best = minimiser(parts)
    merged = []
    for photo, (problem, vector) in enumerate(zip(problems, unknown, strict=True)):
        lower, upper = (torch.from_numpy(bound)[place] for bound in problem.bounds())
        found = torch.cat([best[group] for group in sharing.groups_of(sizes, photo)])
        merged.append(vector.index_copy(0, place, found.clamp(lower, upper)))
    return merged


def _solved(
    problem: _LandmarkProblem,
    start: Tensor,
    max_steps: int,
    progress: Callable[[float], None],
    shared: Sequence[str] = (),
) -> Tensor:
    """A photo's best unknowns, from a start; those of parameters that are shared stand still."""
    free = torch.ones(len(start), dtype=torch.bool)
    free[problem.chosen(shared)] = False
    lower, upper = (bound[free.numpy()] for bound in problem.bounds())
    shapes = problem.surface.identity.shape[-1] if free[0] else 0  # whose prior counts

    def everything(moving: Tensor) -> Tensor:
        return start.masked_scatter(free, moving)

    def residuals(moving: Tensor) -> Tensor:
        unknown = everything(moving)
        return torch.cat([unknown[:shapes], problem.residuals(unknown)])

    def evaluate(vector: np.ndarray) -> np.ndarray:
        values = residuals(torch.from_numpy(vector))
        progress(0.5 * float(values @ values))
        return values.numpy()

    def jacobian(vector: np.ndarray) -> np.ndarray:
        prior = torch.eye(shapes, len(start)).double()
        rows = torch.cat([prior, problem.jacobian(everything(torch.from_numpy(vector)))])
        return rows[:, free].numpy()

    inside = np.clip(start[free].numpy(), lower + AT_BOUND, upper - AT_BOUND)
    solution = least_squares(
        evaluate,
        inside,
        jac=jacobian,
        bounds=(lower, upper),
        x_scale="jac",
        loss="huber",
        f_scale=OUTLIER_SIGMAS,
        ftol=1e-5,
        max_nfev=max_steps,
    )
    return everything(torch.from_numpy(solution.x))


def _start_pose(single: Reconstruction, shot: ShotOnModel) -> Tensor:
    """A pose of one photo's face within the distances that are allowed, and its expression: [7 + E]."""
    identity, expression = single.parameters.identity[0], single.parameters.expression[0]
    surface = LandmarkSurface.around(single.model, shot.embedding, identity, expression)
    points = surface.points(identity.double().cpu(), expression.double().cpu())
    rotation, translation = initial_pose(
        points, shot.detected.double().cpu(), single.camera().intrinsics[0].cpu()
    )
    if single.rig is not None:
        pose_in_camera = pose_matrix(torch.from_numpy(rotation)), torch.from_numpy(translation)
        turn, place = single.rig.in_frame(*pose_in_camera, single.mounts[0])
        rotation, translation = pose_of(turn).numpy(), place.numpy()
    pose = torch.from_numpy(np.concatenate([rotation, translation / 100, [0.0]]))
    depth = pose[5].clamp(DISTANCE_RANGE[0] / 100 + 1, DISTANCE_RANGE[1] / 100 - 1)
    pose[3:6] = pose[3:6] * depth / pose[5]
    return torch.cat([pose, expression.double().cpu()])


def _problem(single: Reconstruction, shot: ShotOnModel, optimize_focal: bool) -> _LandmarkProblem:
    """One photo's problem, linearised around its present state. It is solved where SciPy runs, on the CPU."""
    model, parameters = single.model, single.parameters
    prior = model.expression_prior
    return _LandmarkProblem(
        shot.lens,
        LandmarkSurface.around(model, shot.embedding, parameters.identity[0], parameters.expression[0]),
        shot.detected.double().cpu(),
        shot.posed(single).whitening.to(torch.float64, "cpu"),
        single,
        shot.expected_expression.double().cpu(),
        prior.spread.double().cpu(),
        (prior.low.double().cpu().numpy(), prior.high.double().cpu().numpy()),
        shot.lens.spread if optimize_focal else 1e-4,
    )


def _solution(single: Reconstruction, problem: _LandmarkProblem) -> Tensor:
    """The unknowns of a photo's present state."""
    parameters = single.parameters
    focal = parameters.focal - np.log(problem.lens.focal)
    parts = [parameters.identity[0], parameters.rotation[0], parameters.translation[0] / 100]
    return torch.cat([*parts, focal, parameters.expression[0]]).double().cpu()


def _with_solution(single: Reconstruction, solution: Tensor, lens: LensPrior) -> Reconstruction:
    """A photo's state with these unknowns."""
    old = single.parameters
    identity, pose, expression = solution.split([old.identity.shape[1], 7, old.expression.shape[1]])
    return single.with_parameters(
        replace(
            old,
            rotation=pose[None, :3].to(old.rotation),
            translation=pose[None, 3:6].to(old.translation) * 100,
            focal=(np.log(lens.focal) + pose[6:7]).to(old.focal),
            identity=identity[None].to(old.identity),
            expression=expression[None].to(old.expression),
        )
    )
