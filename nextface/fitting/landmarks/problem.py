"""What the landmarks of one photo ask of its pose, camera, identity and expression, and the best answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from nextface.fitting.landmarks.surface import LandmarkSurface
from nextface.fitting.terms.landmark_errors import LandmarkWhitening
from nextface.fitting.terms.point_motion import image_motion
from nextface.fitting.terms.portrait_prior import DISTANCE_RANGE, portrait_residuals, portrait_slopes
from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import LensPrior
from nextface.scene import Camera

OUTLIER_SIGMAS = 2.0  # residuals beyond this many standard deviations count linearly, not squared
HELD_FOCAL_SPREAD = 1e-4  # of the logarithm of a focal length that is to stay at its prior's median
AT_BOUND = 1e-4  # unknowns this near to a bound stand still, and none starts nearer
UNKNOWNS = ("identity", "rotation", "translation", "focal", "expression")  # of one photo, in their order


@dataclass(frozen=True)
class LandmarkProblem:
    """What one photo's landmarks ask of its unknowns: identity [K], pose [7] and expression [E], in a row.

    A pose is rotation [3] (as `pose_matrix` takes it), translation [3] (100 mm) and the logarithm of the focal
    length over its prior mean.
    """

    lens: LensPrior  # narrow where the focal length is to stay
    surface: LandmarkSurface
    observed: Tensor  # [L, 2] pixels
    whitening: LandmarkWhitening
    state: Reconstruction  # of this photo alone, for its frame and its place in a rig
    expression_prior: Tensor  # [E]
    expression_spread: Tensor  # [E]
    expression_bounds: tuple[np.ndarray, np.ndarray]  # [E] lowest, [E] highest

    def camera(self, pose: Tensor) -> Camera:
        """What sees the head with a pose [7]."""
        focal = self.lens.focal * pose[6:7].exp()
        return self.state.camera_at(pose[None, :3], pose[None, 3:6] * 100, focal)

    def residuals(self, unknown: Tensor) -> Tensor:
        """Landmark offsets and the priors of this photo's own unknowns, in standard deviations."""
        shapes = self.surface.identity.shape[-1]
        identity, pose, expression = unknown[:shapes], unknown[shapes : shapes + 7], unknown[shapes + 7 :]
        camera = self.camera(pose)
        pixels = camera.project(self.surface.points(identity, expression)[None])[0]
        offsets = self.whitening.residuals(pixels - self.observed)
        expression = (expression - self.expression_prior) / self.expression_spread
        return torch.cat([offsets.flatten(), expression, portrait_residuals(camera, self.lens)])

    def jacobian(self, unknown: Tensor) -> Tensor:
        """Derivatives [R, K + 7 + E] of the residuals."""
        shapes = self.surface.identity.shape[-1]
        identity, pose, expression = unknown[:shapes], unknown[shapes : shapes + 7], unknown[shapes + 7 :]
        basis = torch.cat([self.surface.identity, self.surface.expression], 2)
        camera = self.camera(pose)
        motion = image_motion(camera, self.surface.points(identity, expression), basis)
        by_identity, by_expression, by_pose = motion.split([shapes, len(expression), 7], 2)
        by_pose = by_pose * torch.tensor([1.0, 1, 1, 100, 100, 100, 1]).double()
        offsets = self.whitening.slopes(torch.cat([by_identity, by_pose, by_expression], 2))
        priors = torch.zeros(len(expression) + 2, len(unknown)).double()
        priors[:-2, shapes + 7 :] = (1 / self.expression_spread).diag()
        priors[-2:, shapes + 6 : shapes + 7] = portrait_slopes(camera, self.lens)
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
        owners = ["expression"] * len(self.expression_prior) + ["focal", "translation"]
        share = torch.tensor([shares[name] ** 0.5 for name in owners]).double()
        jacobian[-len(owners) :] *= share[:, None]
        residuals[-len(owners) :] *= share
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


def solved(
    problem: LandmarkProblem,
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


def problem_of(single: Reconstruction, shot: ShotOnModel, optimize_focal: bool) -> LandmarkProblem:
    """One photo's problem, linearised around its present state. It is solved where SciPy runs, on the CPU."""
    model, parameters = single.model, single.parameters
    prior = shot.expression_prior
    return LandmarkProblem(
        shot.lens if optimize_focal else replace(shot.lens, spread=HELD_FOCAL_SPREAD),
        LandmarkSurface.around(model, shot.embedding, parameters.identity[0], parameters.expression[0]),
        shot.targets.double().cpu(),
        shot.posed(single).whitening.to(torch.float64, "cpu"),
        single,
        prior.mean.double().cpu(),
        prior.spread.double().cpu(),
        (prior.low.double().cpu().numpy(), prior.high.double().cpu().numpy()),
    )


def unknowns_of(single: Reconstruction, problem: LandmarkProblem) -> Tensor:
    """The unknowns of a photo's present state."""
    parameters = single.parameters
    focal = parameters.focal - np.log(problem.lens.focal)
    parts = [parameters.identity[0], parameters.rotation[0], parameters.translation[0] / 100]
    return torch.cat([*parts, focal, parameters.expression[0]]).double().cpu()


def with_unknowns(single: Reconstruction, solution: Tensor, lens: LensPrior) -> Reconstruction:
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
