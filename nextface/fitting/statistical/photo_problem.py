"""What one photo asks of the parameters in stage 2, and the same to first order around a state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from nextface.fitting.statistical.coverage import EmptyPixels
from nextface.fitting.statistical.linear_image import LinearImage
from nextface.fitting.statistical.model_slopes import ModelSlopes
from nextface.fitting.statistical.normal_equations import NormalEquations
from nextface.fitting.statistical.terms import (
    OUTLIER_RESIDUAL,
    PORTRAIT_WEIGHT,
    StatisticalSettings,
    StatisticalWeights,
    expression_scale,
)
from nextface.fitting.statistical.unknowns import GEOMETRY, UnknownLayout
from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.accumulation import PHOTO_SCALE
from nextface.fitting.terms.losses import (
    EMPTY_PIXEL_PENALTY,
    light_residual_slopes,
    light_residuals,
)
from nextface.fitting.terms.point_motion import image_motion
from nextface.fitting.terms.portrait_prior import DISTANCE_RANGE, portrait_residuals, portrait_slopes
from nextface.fitting.terms.robust import geman_mcclure, geman_mcclure_weight
from nextface.fitting.terms.shot_on_model import PosedShot
from nextface.fitting.transfer.interreflection import Interreflection
from nextface.person.parameters import LIGHT_LOBES, Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Sharing
from nextface.system.tensor_store import TensorStore
from renderers.renderer import Transferable

DIRECTIONS = 256  # of light that are followed


@dataclass(frozen=True)
class PriorShares:
    """The part of each prior that a photo carries: what several photos share is held by it once."""

    expression: float = 1.0
    focal: float = 1.0
    translation: float = 1.0
    light: float = 1.0

    @classmethod
    def of(cls, sharing: Sharing, photo: int) -> PriorShares:
        """Even parts for all photos that share a row."""
        return cls(**{item.name: sharing.share(item.name, photo) for item in fields(cls)})


@dataclass(frozen=True)
class PhotoProblem:
    """One photo at one size, its landmarks, and what is known of its own parameters beforehand."""

    photo: WorkingPhoto
    shot: PosedShot  # the processed photo, on the model
    renderer: Transferable
    settings: StatisticalSettings
    shares: PriorShares = PriorShares()
    store: TensorStore = field(default_factory=TensorStore)  # of what is large
    between: Interreflection | None = None  # what the surface sends to itself, about as it is now

    @property
    def weights(self) -> StatisticalWeights:
        """Of the terms beside photo-consistency."""
        return self.settings.weights

    def drawn(self, state: Reconstruction) -> LinearImage:
        """The photo's pixels at a reconstruction's geometry (N = 1), the mask's and their neighbours."""
        reach = self.photo.reach[None, None].float()
        near = torch.nn.functional.max_pool2d(reach, 3, 1, 1)[0, 0] > 0
        return LinearImage(state, self.photo, near, self.renderer, DIRECTIONS, self.store, self.between)

    def photo_error(self, state: Reconstruction, image: LinearImage) -> Tensor:
        """The photo's own term: how far the picture is from it."""
        mask = self.photo.observation.mask
        residual, inside, _ = self._residuals(state.parameters, image)
        robust = geman_mcclure(residual.square().mean(1), OUTLIER_RESIDUAL)
        empty = EMPTY_PIXEL_PENALTY * (1 - image.coverage[mask]).sum()
        return PHOTO_SCALE * ((robust * inside).sum() + empty) / mask.sum()

    def loss(self, state: Reconstruction, image: LinearImage) -> Tensor:
        """All terms of this photo."""
        parameters, camera, vertices = state.parameters, state.camera(), state.vertices()
        total = self.photo_error(state, image)
        offsets, pull = self._pulls(camera.project(vertices)[0], image)
        landmarks = self.shot.whitening.term(self.shot.offsets(vertices, camera))
        total = total + self.weights.landmarks * (landmarks + pull.weight * offsets.square().sum())
        portrait = portrait_residuals(camera, self.shot.lens).square()
        expression = self._expression_prior_residual(state)
        shares = portrait.new_tensor([self.shares.focal, self.shares.translation])
        total = total + PORTRAIT_WEIGHT * (shares * portrait).sum()
        total = total + self.weights.expression * self.shares.expression * expression.square().mean()
        light = light_residuals(parameters.light[0]).square().sum()
        return total + self.weights.light * self.shares.light * light

    def equations(
        self, state: Reconstruction, image: LinearImage, slopes: ModelSlopes, layout: UnknownLayout
    ) -> NormalEquations:
        """The normal equations of all terms of this photo, linearised around a state.

        Parameters
        ----------
        image: drawn at the state's geometry.
        slopes: of the model; of its shape, too, if the layout has the geometry.
        """
        total = NormalEquations.zeros(layout.unknowns, state.parameters.light.device)
        basis = slopes.shape.around(state.parameters) if slopes.shape else None
        self._add_pixels(total, state.parameters, image, slopes.reflectance, basis, layout)
        if basis is not None:
            self._add_landmarks(total, state, layout, basis)
            self._add_pulls(total, state, image, layout, basis)
            self._add_priors_of_geometry(total, state, layout)
        if layout.light:
            light, root = state.parameters.light[0], (self.weights.light * self.shares.light) ** 0.5
            by_light = light_residual_slopes(light)  # [R, LOBES, 3]
            total.add(root * by_light.mT.flatten(1), root * light_residuals(light), layout.first("light"))
        return total.cpu()

    def bounds(self, state: Reconstruction, layout: UnknownLayout) -> tuple[Tensor, Tensor]:
        """Least and largest steps [U] of the photo's unknowns."""
        size = layout.unknowns
        lower, upper = torch.full((size,), -math.inf).double(), torch.full((size,), math.inf).double()
        if layout.geometry:
            expression = state.parameters.expression[0].double().cpu()
            prior = state.model.expression_prior
            lower[layout.place("expression")] = prior.low.double().cpu() - expression
            upper[layout.place("expression")] = prior.high.double().cpu() - expression
            depth = layout.place("translation").stop - 1
            lower[depth] = DISTANCE_RANGE[0] - float(state.parameters.translation[0, 2])
            upper[depth] = DISTANCE_RANGE[1] - float(state.parameters.translation[0, 2])
            if not self.settings.optimize_focal:
                lower[layout.place("focal")] = upper[layout.place("focal")] = 0
        return lower, upper

    def _residuals(self, parameters: Parameters, image: LinearImage) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded residuals [P, 3] of the drawn pixels, which of them count [P], and the colour [P, 3]."""
        observation = self.photo.observation
        colour = image.colour(parameters)
        pixel = image.pixel
        residual = (colour - observation.linear.flatten(0, 1)[pixel]) * observation.slope.flatten(0, 1)[pixel]
        brighter = residual.mean(1) >= 0
        counts = observation.mask.flatten()[pixel] & ~(observation.clipped.flatten()[pixel] & brighter)
        return residual, counts.float(), colour

    def _add_pixels(
        self,
        total: NormalEquations,
        parameters: Parameters,
        image: LinearImage,
        reflectance: Tensor,
        basis: Tensor | None,
        layout: UnknownLayout,
    ) -> None:
        observation = self.photo.observation
        residual, inside, colour = self._residuals(parameters, image)
        robust = geman_mcclure_weight(residual.square().mean(1), OUTLIER_RESIDUAL)
        weight = inside * robust * PHOTO_SCALE / (3 * observation.mask.sum())
        chosen = (weight > 0).nonzero()[:, 0]
        root = weight[chosen].sqrt()[:, None] * observation.slope.flatten(0, 1)[image.pixel[chosen]]  # [P, 3]
        residual = residual[chosen] * weight[chosen].sqrt()[:, None]
        blocks: list[tuple[int, Tensor]] = []
        if layout.sizes["albedo"]:
            by_albedo = image.albedo_slopes(parameters, reflectance)
            blocks.append((layout.first("albedo"), by_albedo[chosen]))
        if basis is not None:
            by_geometry = image.geometry_slopes(parameters, basis, colour)
            blocks += layout.blocks(by_geometry[chosen], GEOMETRY)
        light = image.light_slopes(parameters)[:, chosen] if layout.light else None
        for channel in range(3):
            factor = root[:, channel, None]
            mine = [(first, block[:, channel] * factor) for first, block in blocks]
            if light is not None:
                mine.append((layout.first("light") + channel * LIGHT_LOBES, light[channel] * factor))
            total.add_block(mine, residual[:, channel])

    def _add_landmarks(
        self, total: NormalEquations, state: Reconstruction, layout: UnknownLayout, basis: Tensor
    ) -> None:
        embedding, vertices, camera = self.shot.embedding, state.vertices(), state.camera()
        points = self.shot.points(vertices)[0]
        corner = state.model.triangles[embedding.triangles]
        share = embedding.barycentric.to(basis)[..., None, None]
        motion = image_motion(camera, points, (basis[corner] * share).sum(1))
        residuals, slopes = self.shot.whitening.rows(self.shot.offsets(vertices, camera), motion)
        root = self.weights.landmarks**0.5
        total.add_block(layout.blocks(root * slopes.flatten(0, 1), GEOMETRY), root * residuals.flatten())

    def _pulls(self, projected: Tensor, image: LinearImage) -> tuple[Tensor, EmptyPixels]:
        """The pixels that vertices projected to [V, 2] leave empty, and the offsets [Q, 2] from them."""
        frame = self.shot.observation.mask
        pixel_size = (frame.shape[1] / self.photo.width, frame.shape[0] / self.photo.height)
        empty = EmptyPixels.of(self.photo.reach, image.coverage, projected, pixel_size)
        return self.shot.landmarks.hundredths(projected[empty.vertices] - empty.pixels), empty

    def _add_pulls(
        self,
        total: NormalEquations,
        state: Reconstruction,
        image: LinearImage,
        layout: UnknownLayout,
        basis: Tensor,
    ) -> None:
        camera, vertices = state.camera(), state.vertices()
        offsets, empty = self._pulls(camera.project(vertices)[0], image)
        if not len(offsets):
            return
        root = (self.weights.landmarks * empty.weight) ** 0.5
        motion = image_motion(camera, vertices[0, empty.vertices], basis[empty.vertices])
        slopes = root * self.shot.landmarks.hundredths(motion).flatten(0, 1)
        total.add_block(layout.blocks(slopes, GEOMETRY), root * offsets.flatten())

    def _add_priors_of_geometry(
        self, total: NormalEquations, state: Reconstruction, layout: UnknownLayout
    ) -> None:
        """What is known beforehand of expression, focal length and distance."""
        size = layout.sizes["expression"]
        root = (self.weights.expression * self.shares.expression / size) ** 0.5
        residual = root * self._expression_prior_residual(state)
        scale = expression_scale(self.shot.expression_prior).to(residual)
        total.add(root * scale.diag(), residual, layout.first("expression"))
        camera, lens = state.camera(), self.shot.lens
        roots = (PORTRAIT_WEIGHT * residual.new_tensor([self.shares.focal, self.shares.translation])).sqrt()
        slopes = roots[:, None] * portrait_slopes(camera, lens)
        total.add(slopes, roots * portrait_residuals(camera, lens), layout.first("focal"))

    def _expression_prior_residual(self, state: Reconstruction) -> Tensor:
        """How far the expression [E] is from the one that the detector lets expect, by each one's spread."""
        expression, prior = state.parameters.expression[0], self.shot.expression_prior
        return (expression - prior.mean.to(expression)) * expression_scale(prior).to(expression)
