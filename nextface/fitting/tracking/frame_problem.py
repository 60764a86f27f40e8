"""What a frame asks of its unknowns, to first order around a state: photo, landmarks, and what is known before.

Every term is one of stage 2's (`nextface.fitting.statistical.photo_problem`), with the same weights; identity,
reflectance and focal length stand still. What moves over a point of skin in the frame is

    dr = dC - grad I . du

with the point's own change of colour dC, as its normal turns and the light drifts, and the frame's gradient at
the place that moves by du: the comparison is made on the surface, so that no picture need be drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nextface.fitting.statistical.terms import OUTLIER_RESIDUAL, StatisticalWeights, expression_scale
from nextface.fitting.terms.accumulation import PHOTO_SCALE
from nextface.fitting.terms.point_motion import image_motion, turn_motion
from nextface.fitting.terms.robust import geman_mcclure_weight
from nextface.fitting.tracking.coordinates import DRIFT, FrameCoordinates, drift_fields
from nextface.fitting.tracking.face_points import FacePoints, MovingPoints
from nextface.fitting.tracking.frame_view import FrameView
from nextface.fitting.tracking.landmark_habit import LandmarkHabit
from nextface.person.parameters import LIGHT_LOBES
from nextface.scene import Camera
from nextface.scene.geometry import facing
from nextface.scene.lighting import cosine_kernel, positive_lobes, scale_bands, sh_basis, to_light_frame
from nextface.scene.prefiltered import shade

LEAST_FACING = 0.1  # cosine below which a point is seen too much from the side to be compared
# Of the landmarks' weight, in frames that are compared with a person who is known: one look errs by 0.7 % of
# the distance between the eyes, the photo by less. On a rendered film this lowers the error of the pose by 1/4.
BESIDE_PHOTO = 0.2
MATT_BANDS = 5  # of the light, that derivatives know
NORMAL_STEP = 0.02  # of a unit normal, of differences
SHARPEST = 1.0  # of a frame's sharpness over the film's usual one, from which on its photo counts fully


@dataclass(frozen=True)
class Observed:
    """What is seen in one frame."""

    points: Tensor  # [L, 2] where the model's landmarks were detected, pixels of the frame
    size: float  # pixels, of the face
    expected: Tensor  # [E] what the detector's scores let expect
    view: FrameView | None = None  # None: landmarks alone are compared
    sharpness: float = 1.0  # over the film's usual one


@dataclass(frozen=True)
class Linearised:
    """x^T matrix x / 2 - vector^T x around a state x, up to a constant."""

    matrix: np.ndarray  # [U, U] float64
    vector: np.ndarray  # [U] float64
    explained: float  # share of the seen skin that the state explains, in [0, 1]; 0 without a view


@dataclass(frozen=True)
class FrameProblem:
    """One person in front of one camera, and how a frame of them is compared."""

    points: FacePoints
    habit: LandmarkHabit
    coordinates: FrameCoordinates
    camera: Camera  # of the frames; its pose means nothing
    light: Tensor  # [LIGHT_LOBES, 3] log powers of the main light
    bands: int
    weights: StatisticalWeights

    @cached_property
    def _lobes(self) -> Tensor:
        """Coefficients [bands^2, LIGHT_LOBES] of the light's lobes."""
        return positive_lobes(self.bands, LIGHT_LOBES).to(self.light)

    @cached_property
    def _fields(self) -> Tensor:
        """How a drift changes the lobes' log powers, [LIGHT_LOBES, 3, DRIFT]."""
        return drift_fields(LIGHT_LOBES).to(self.light)

    def light_of(self, drift: Tensor) -> Tensor:
        """The light's coefficients [bands^2, 3] after a drift [DRIFT]."""
        return self._lobes @ self.drifted(drift).exp()

    def drifted(self, drift: Tensor) -> Tensor:
        """The log powers [LIGHT_LOBES, 3] of the light after a drift [DRIFT]."""
        return self.light + self._fields @ drift.to(self.light)

    def camera_at(self, rotation: Tensor, translation: Tensor) -> Camera:
        """The camera with a head's pose: rotation [3] and translation [3] (mm)."""
        return replace(
            self.camera,
            rotation=rotation[None],
            translation=translation[None],
            intrinsics=self.camera.intrinsics.to(rotation),
            orientation=facing(rotation)[None],
        )

    @torch.no_grad()
    def linearised(self, state: np.ndarray, seen: Observed) -> Linearised:
        """The frame's equations around a state [U]."""
        expression, rotation, translation, drift = self.coordinates.split(torch.tensor(state))
        size, first = self.coordinates.size, self.coordinates.expressions
        camera = self.camera_at(rotation, translation)
        parts = [self._landmarks(expression, camera, seen), self._expected(expression, seen)]
        explained = 0.0
        if seen.view is not None:
            photo, explained = self._photo(expression.float(), camera, drift, seen, seen.view)
            parts.append(photo)
        matrix, gradient = torch.zeros(size, size).double(), torch.zeros(size).double()
        for slopes, residuals in parts:
            columns = slice(0, slopes.shape[1])
            matrix[columns, columns] += slopes.T @ slopes
            gradient[columns] += slopes.T @ residuals
        steady = 2 * self.weights.light * torch.ones(DRIFT).double()
        place = torch.arange(first + 6, size)
        matrix[place, place] += steady
        gradient[place] += steady * drift
        vector = matrix @ torch.tensor(state) - gradient
        return Linearised(matrix.numpy(), vector.numpy(), explained)

    def _landmarks(self, expression: Tensor, camera: Camera, seen: Observed) -> tuple[Tensor, Tensor]:
        """Slopes [2 L, E + 6] and residuals [2 L]."""
        places, basis, normals = self.habit.around(expression)
        whitening = self.habit.whitening(camera, places, normals, seen.size)
        offsets = camera.project(places[None])[0] - self.habit.targets(seen.points, seen.size, camera)
        motion = image_motion(camera, places, basis)[..., :-1]
        residuals, slopes = whitening.rows(offsets, motion)
        share = 1.0 if seen.view is None else BESIDE_PHOTO
        root = (2 * share * self.weights.landmarks) ** 0.5
        return root * slopes.flatten(0, 1), root * residuals.flatten()

    def _expected(self, expression: Tensor, seen: Observed) -> tuple[Tensor, Tensor]:
        """Slopes [E, E] and residuals [E]."""
        root = (2 * self.weights.expression / max(len(expression), 1)) ** 0.5
        scale = root * expression_scale(self.coordinates.prior).to(expression)
        return scale.diag(), scale * (expression - seen.expected.to(expression))

    def _photo(
        self, expression: Tensor, camera: Camera, drift: Tensor, seen: Observed, view: FrameView
    ) -> tuple[tuple[Tensor, Tensor], float]:
        """Slopes [3 Q, U] and residuals [3 Q] of points that are seen, and what share of them is explained."""
        moved = self.points.moved(expression)
        single = replace(
            camera,
            intrinsics=camera.intrinsics.float(),
            rotation=camera.rotation.float(),
            translation=camera.translation.float(),
            orientation=None if camera.orientation is None else camera.orientation.float(),
        )
        places = single.transform(moved.places[None])[0]
        normals, views = (
            to_light_frame(single.rotate(moved.normals[None])[0]),
            to_light_frame(-torch.nn.functional.normalize(places, dim=-1)),
        )
        cosine = (normals * views).sum(-1)
        layers, inside = view.at(single.project(moved.places[None])[0])
        back = -(single.translation @ single.turn[0])[0]  # where the camera is, in model space
        shown = self.points.sight.seen_from(back - moved.places.mean(0)) * inside * (cosine > LEAST_FACING)
        chosen = (shown > 0.5).nonzero()[:, 0]
        if not len(chosen):
            return (torch.zeros(0, len(expression) + 6).double(), torch.zeros(0).double()), 0.0
        photo, across, down, slope, clipped = layers[chosen].split([3, 3, 3, 1, 1], 1)
        light = self.light_of(drift)
        lit = self.points.lit_share(light, single.rotation[0])[chosen]
        colour, by_normal = self._colour(light, lit, normals[chosen], views[chosen], chosen)
        residual = (colour - photo) * slope
        brighter = (residual.mean(1) >= 0) & (clipped[:, 0] > 0)
        trust = geman_mcclure_weight(residual.square().mean(1), OUTLIER_RESIDUAL)
        area = cosine[chosen] * shown[chosen] * ~brighter  # of the frame that a point stands for
        sharp = min(seen.sharpness / SHARPEST, 1.0)
        weight = trust * area * (2 * PHOTO_SCALE * sharp / (3 * area.sum().clamp(min=1e-6)))
        explained = float((trust * area).sum() / area.sum().clamp(min=1e-6))

        subset = MovingPoints(
            moved.places[chosen], moved.motion[chosen], moved.normals[chosen], moved.turning[chosen]
        )
        on_frame = image_motion(single, subset.places, subset.motion)[..., :-1]  # without the focal length
        turning = turn_motion(single, subset.normals, subset.turning)[..., :-1]
        turning = turning * turning.new_tensor([1.0, -1, -1])[:, None]  # in the light frame, as the slopes
        gradient = torch.stack([across, down], -1)  # [Q, 3, 2]
        by_shape = by_normal @ turning - gradient @ on_frame
        by_drift = self._by_drift(drift, lit, normals[chosen], chosen)
        root = (weight.sqrt()[:, None] * slope)[..., None]
        slopes = (torch.cat([by_shape, by_drift], 2) * root).flatten(0, 1)
        return (slopes.double(), (residual * weight.sqrt()[:, None]).flatten().double()), explained

    def _colour(
        self, light: Tensor, lit: Tensor, normals: Tensor, views: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Radiance [Q, 3], and its derivatives [Q, 3, 3] by the normal, without the highlight's."""
        diffuse, specular, roughness = self.points.reflectance[chosen].split([3, 1, 1], 1)
        colour = shade(light, normals, views, diffuse, specular, roughness)
        away = normals.new_tensor([0.0, 1, 0]).expand_as(normals)
        along = torch.nn.functional.normalize(torch.linalg.cross(normals, away), dim=-1)
        slopes = torch.zeros_like(normals)[..., None]
        for tangent in (along, torch.linalg.cross(normals, along)):
            there, back = (
                irradiance(torch.nn.functional.normalize(normals + step * tangent, dim=-1), light)
                for step in (NORMAL_STEP, -NORMAL_STEP)
            )
            slopes = slopes + ((there - back) / (2 * NORMAL_STEP))[..., None] * tangent[:, None]
        albedo = diffuse * lit[:, None] / math.pi
        return colour * lit[:, None], slopes * albedo[..., None]

    def _by_drift(self, drift: Tensor, lit: Tensor, normals: Tensor, chosen: Tensor) -> Tensor:
        """Derivatives [Q, 3, DRIFT] of the radiance; the highlight's are left out."""
        change = (self.drifted(drift).exp()[..., None] * self._fields).flatten(1)  # [LOBES, 3 DRIFT]
        arriving = irradiance(normals, self._lobes @ change).unflatten(1, (3, DRIFT))
        albedo = self.points.reflectance[chosen, :3] * lit[:, None] / math.pi
        return arriving * albedo[..., None]


def irradiance(normals: Tensor, light: Tensor) -> Tensor:
    """What arrives [Q, C] of a light [bands^2, C] at surfaces with unit normals [Q, 3], in the light frame.

    Of `MATT_BANDS` bands: the others make up 1 % of it (Ramamoorthi and Hanrahan 2001).
    """
    bands = min(math.isqrt(len(light)), MATT_BANDS)
    kernel = cosine_kernel(bands).to(light)
    return sh_basis(normals, bands) @ scale_bands(light[None, : bands**2], kernel)[0]
