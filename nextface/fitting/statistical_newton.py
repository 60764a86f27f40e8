"""Stage 2 without noise: Gauss-Newton on pixels, landmarks and priors together.

What is minimised is what `nextface.fitting.statistical` minimises by descent through the renderer. Here
images come from light transfer, every pixel's derivatives are known (`nextface.fitting.linear_image`), and all
unknowns are solved for at once: whatever trades off against each other, as light and albedo or pose and shape
do, does so in one step (Levenberg, 1944; Marquardt, 1963). Robust weights are found again before every step.

First of all the light is exposed as cameras usually expose, and the albedo alone explains how bright the skin
is: brighter light on darker skin looks nearly the same, so steps of both together would stop long before the
priors have had their say. Then, at every size of the photo, light and albedo move alone first, which costs next
to nothing. Then the geometry moves with them, and rays are traced again after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.coarse import landmark_whitening
from nextface.fitting.layout import SHARED, Layout
from nextface.fitting.linear_image import LinearImage
from nextface.fitting.losses import usually_exposed
from nextface.fitting.normal_equations import NormalEquations, solve
from nextface.fitting.observation import Observation
from nextface.fitting.photo_problem import PhotoProblem
from nextface.fitting.point_motion import shape_basis
from nextface.fitting.statistical_terms import StatisticalWeights
from nextface.fitting.working_photo import WorkingPhoto
from nextface.models.face_model import LandmarkEmbedding
from nextface.reconstruction import Reconstruction
from renderers.renderer import Transferable

WORKING_PIXELS = (1200, 3500)  # of the mask, from coarse to fine
ENOUGH = 8e-3  # a step that lessens the loss by less than this fraction is the last one of its size
ENOUGH_AT_FIRST = 0.05  # the same for steps of albedo alone
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-3, 2.0


def fit_by_gauss_newton(
    reconstruction: Reconstruction,
    observations: Sequence[Observation],
    embeddings: Sequence[LandmarkEmbedding],
    renderer: Transferable,
    weights: StatisticalWeights,
    iterations: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
    on_iteration: Callable[[int, Reconstruction], None],
) -> Reconstruction:
    """The reconstruction with all statistical parameters fitted to its photos together.

    Parameters are those of `nextface.fitting.statistical.fit_statistical`, with two differences: the renderer
    only says what is reflected and what casts shadows, and there are fewer iterations where the loss stops
    falling sooner.

    Raises
    ------
    DivergedError: if the loss becomes NaN or infinite.
    """
    steps = Steps(iterations, progress, on_iteration)
    current = reconstruction.with_parameters(reconstruction.parameters.detached())
    whitenings = [
        landmark_whitening(current[photo], *pair)
        for photo, pair in enumerate(zip(observations, embeddings, strict=True))
    ]
    with torch.no_grad():
        for number, pixels in enumerate(WORKING_PIXELS):
            if not steps.left:
                break
            photos = [
                PhotoProblem(
                    WorkingPhoto.of(seen, pixels), seen, embedding, whitening, renderer, weights, optimize_focal
                )
                for seen, embedding, whitening in zip(observations, embeddings, whitenings, strict=True)
            ]
            images = [photo.drawn(current[index]) for index, photo in enumerate(photos)]
            if number == 0 and current.parameters.albedo.numel():
                current = _toned(current, photos, images, weights, steps)
            current = _descended(current, photos, images, weights, steps)
    return current


@dataclass
class Steps:
    """Counts and reports steps."""

    left: int  # that may still be taken
    progress: Callable[[float], None]
    on_iteration: Callable[[int, Reconstruction], None]
    done: int = 0

    def check(self, loss: float) -> float:
        """The loss of a state that steps start from.

        Raises
        ------
        DivergedError: if it is NaN or infinite.
        """
        if not math.isfinite(loss):
            raise DivergedError(f"The loss became {loss} in iteration {self.done} of stage 2.")
        return loss

    def taken(self, loss: float, state: Reconstruction) -> None:
        """Report a step that led to a state, or back to it."""
        self.progress(loss)
        self.on_iteration(self.done, state)
        self.done += 1
        self.left -= 1


def _toned(
    current: Reconstruction,
    photos: Sequence[PhotoProblem],
    images: Sequence[LinearImage],
    weights: StatisticalWeights,
    steps: Steps,
) -> Reconstruction:
    """The light as usually exposed, and an albedo that explains how bright the skin is in it."""
    light = usually_exposed(current.parameters.light)
    current = current.with_parameters(replace(current.parameters, light=light))
    return _stepped(current, photos, images, weights, None, steps, ENOUGH_AT_FIRST, light_moves=False)


def _descended(
    current: Reconstruction,
    photos: Sequence[PhotoProblem],
    images: Sequence[LinearImage],
    weights: StatisticalWeights,
    steps: Steps,
) -> Reconstruction:
    """Where steps at one size of the photos end: first of light and albedo alone, then of everything."""
    current = _stepped(current, photos, images, weights, None, steps)
    parameters = current.parameters
    basis = shape_basis(current.model, parameters.identity[0], parameters.expression[0])
    return _stepped(current, photos, images, weights, basis, steps)


def _stepped(
    current: Reconstruction,
    photos: Sequence[PhotoProblem],
    images: Sequence[LinearImage],
    weights: StatisticalWeights,
    basis: Tensor | None,
    steps: Steps,
    enough: float = ENOUGH,
    light_moves: bool = True,
) -> Reconstruction:
    """Where steps end; they are of light and albedo alone where no basis of the geometry is given."""
    loss = steps.check(_loss(current, photos, images, weights))
    damping, system = FIRST_DAMPING, None
    while steps.left and damping < MOST_DAMPING:
        if system is None:
            system = System.of(current, photos, images, weights, basis, light_moves)
        moved = system.step(current, damping)
        drawn = images
        if basis is not None:
            drawn = [photo.drawn(moved[number]) for number, photo in enumerate(photos)]
        after = _loss(moved, photos, drawn, weights)
        gain = (loss - after) / loss
        if gain > 0:
            current, images, loss, system = moved, drawn, after, None
        damping = max(damping / 3, LEAST_DAMPING) if gain > 0 else damping * 10
        steps.taken(loss, current)
        if 0 < gain < enough:
            break
    return current


def _loss(
    current: Reconstruction,
    photos: Sequence[PhotoProblem],
    images: Sequence[LinearImage],
    weights: StatisticalWeights,
) -> float:
    parameters = current.parameters
    total = parameters.identity.square().mean() * weights.identity / len(photos)
    if parameters.albedo.numel():
        total = total + parameters.albedo.square().mean() * weights.albedo / len(photos)
    for number, (photo, image) in enumerate(zip(photos, images, strict=True)):
        total = total + photo.loss(current[number], image) / len(photos)
    return float(total)


@dataclass(frozen=True)
class System:
    """What the photos and the priors say of all unknowns, to first order around one state."""

    layout: Layout
    photos: list[NormalEquations]
    bounds: list[tuple[Tensor, Tensor]]

    @classmethod
    def of(
        cls,
        current: Reconstruction,
        photos: Sequence[PhotoProblem],
        images: Sequence[LinearImage],
        weights: StatisticalWeights,
        basis: Tensor | None,
        light_moves: bool,
    ) -> System:
        """The system around a state; without a basis of the geometry, for light and albedo alone."""
        layout = Layout.of(current.parameters, basis is not None, light_moves)
        equations, bounds = [], []
        for number, (photo, image) in enumerate(zip(photos, images, strict=True)):
            alone = current[number]
            one = photo.equations(alone, image, layout, basis)
            for name in SHARED:
                if layout.sizes.get(name):
                    values = getattr(alone.parameters, name)[0].cpu()
                    root = (getattr(weights, name) / len(values)) ** 0.5
                    one.add(root * torch.eye(len(values)), root * values, layout.first(name))
            equations.append(one)
            bounds.append(photo.bounds(alone, layout))
        return cls(layout, equations, bounds)

    def step(self, current: Reconstruction, damping: float) -> Reconstruction:
        """The state after a step with this damping."""
        lower, upper = zip(*self.bounds, strict=True)
        person, own = solve(self.photos, self.layout.shared, damping, lower, upper)
        return current.with_parameters(self.layout.moved(current.parameters, person, own))
