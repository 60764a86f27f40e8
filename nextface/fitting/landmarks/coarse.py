"""Stage 1: identity, and each photo's pose, expression and focal length, by least squares on landmarks.

The unknowns are few and the residuals smooth, so a trust-region solver converges in tens of steps. The
identity is a nuisance here, held by its prior: without it, expressions would have to explain the shape of
the person's face.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.fitting.landmarks.problem import (
    UNKNOWNS,
    LandmarkProblem,
    problem_of,
    solved,
    unknowns_of,
    with_unknowns,
)
from nextface.fitting.landmarks.surface import LandmarkSurface
from nextface.fitting.terms.elimination import GroupEquations, minimiser
from nextface.fitting.terms.portrait_prior import DISTANCE_RANGE
from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Sharing
from nextface.scene.geometry import pose_matrix, pose_of

MERGES = 2  # of what several photos say of what they share; the second is a small correction
LINEARISATIONS = 2  # of landmarks that lie on a linear model: their trust follows the pose
CURVED_LINEARISATIONS = 5  # where joints turn


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
        with_unknowns(one, torch.cat([one.parameters.identity[0].double().cpu(), pose]), shot.lens)
        for one, pose, shot in zip(singles, start, shots, strict=True)
    ]

    def problems() -> list[LandmarkProblem]:
        """Every photo's problem, linearised around its present state."""
        return [problem_of(one, shot, optimize_focal) for one, shot in zip(singles, shots, strict=True)]

    for _ in range(linearisations):
        singles = [
            with_unknowns(one, solved(problem, unknowns_of(one, problem), steps, progress), problem.lens)
            for one, problem in zip(singles, problems(), strict=True)
        ]
    sharing = reconstruction.sharing
    shared = sharing.common(UNKNOWNS)
    for _ in range(MERGES if shared else 0):
        posed = problems()
        unknown = [unknowns_of(one, problem) for one, problem in zip(singles, posed, strict=True)]
        unknown = _merged(posed, unknown, sharing, shared)
        singles = [
            with_unknowns(one, solved(problem, vector, steps, progress, shared), problem.lens)
            for one, problem, vector in zip(singles, posed, unknown, strict=True)
        ]
    return reconstruction.with_parameters(sharing.joined([one.parameters for one in singles]))


def _merged(
    problems: Sequence[LandmarkProblem], unknown: Sequence[Tensor], sharing: Sharing, shared: Sequence[str]
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


def _start_pose(single: Reconstruction, shot: ShotOnModel) -> Tensor:
    """A pose of one photo's face within the distances that are allowed, and its expression: [7 + E]."""
    identity, expression = single.parameters.identity[0], single.parameters.expression[0]
    surface = LandmarkSurface.around(single.model, shot.embedding, identity, expression)
    points = surface.points(identity.double().cpu(), expression.double().cpu())
    rotation, translation = initial_pose(
        points, shot.targets.double().cpu(), single.camera().intrinsics[0].cpu()
    )
    if single.rig is not None:
        pose_in_camera = pose_matrix(torch.from_numpy(rotation)), torch.from_numpy(translation)
        turn, place = single.rig.in_frame(*pose_in_camera, single.mounts[0])
        rotation, translation = pose_of(turn).numpy(), place.numpy()
    pose = torch.from_numpy(np.concatenate([rotation, translation / 100, [0.0]]))
    depth = pose[5].clamp(DISTANCE_RANGE[0] / 100 + 1, DISTANCE_RANGE[1] / 100 - 1)
    pose[3:6] = pose[3:6] * depth / pose[5]
    return torch.cat([pose, expression.double().cpu()])
