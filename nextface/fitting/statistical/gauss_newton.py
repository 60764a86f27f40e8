"""Stage 2 without noise: Gauss-Newton on pixels, landmarks and priors together.

What is minimised is what `nextface.fitting.statistical.adam` minimises by descent through the renderer. Here
images come from light transfer, every pixel's derivatives are known
(`nextface.fitting.statistical.linear_image`), and all unknowns are solved for
at once: whatever trades off against each other, as light and albedo or pose and shape do, does so in one step
(Levenberg, 1944; Marquardt, 1963). Robust weights are found again before every step.

First of all the light is exposed as cameras usually expose, and the albedo alone explains how bright the skin
is: brighter light on darker skin looks nearly the same, so steps of both together would stop long before the
priors have had their say. Then, at every size of the photo, light and albedo move alone first, which costs next
to nothing. Then the geometry moves with them, and rays are traced again after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.statistical.linear_image import LinearImage
from nextface.fitting.statistical.model_slopes import ModelSlopes, ShapeSlopes, reflectance_slopes
from nextface.fitting.statistical.normal_equations import NormalEquations, solve
from nextface.fitting.statistical.photo_problem import PhotoProblem, PriorShares
from nextface.fitting.statistical.posterior import face_of, identity_precision, vertex_deviation
from nextface.fitting.statistical.terms import (
    StatisticalSettings,
    StatisticalWeights,
    person_term,
    person_weights,
)
from nextface.fitting.statistical.unknowns import UnknownLayout
from nextface.fitting.statistical.working_photo import WorkingPhoto
from nextface.fitting.terms.losses import usually_exposed
from nextface.fitting.terms.shot_on_model import ShotOnModel, posed
from nextface.fitting.terms.watcher import Watcher
from nextface.fitting.transfer.interreflection import interreflection_of
from nextface.models.bases import neutral_vertices
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import Group
from nextface.system.tensor_store import TensorStore
from renderers.renderer import Transferable

WORKING_PIXELS = (1200, 3500)  # of the mask, from coarse to fine
# A step that lessens the loss by less than this fraction of the photos' error is the last one of its size. It
# is no fraction of the loss, of which landmarks and priors make up more or less as their weights say.
ENOUGH = 0.01
ENOUGH_OF_COLOUR = 2e-3  # the same for steps of light and albedo alone, which cost little
ENOUGH_AT_FIRST = 0.06  # the same for steps of albedo alone
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-3, 2.0


def fit_by_gauss_newton(
    reconstruction: Reconstruction,
    shots: Sequence[ShotOnModel],
    renderer: Transferable,
    settings: StatisticalSettings,
    watcher: Watcher,
    second_look: Callable[[Reconstruction], Sequence[ShotOnModel]] | None = None,
) -> Reconstruction:
    """The reconstruction with all statistical parameters fitted to its photos together.

    Parameters are those of `nextface.fitting.statistical.adam.fit_statistical`, with two differences: the
    renderer only says what is reflected and what casts shadows, and there are fewer iterations where the loss
    stops falling sooner.

    Parameters
    ----------
    second_look: the photos with landmarks that were compared with those of a state; asked after the smallest
        size, when colours are about right.

    Raises
    ------
    DivergedError: if the loss becomes NaN or infinite.
    """
    steps = Steps(settings.iterations, watcher)
    current = reconstruction.with_parameters(reconstruction.parameters.detached())
    in_pose = posed(shots, current)
    with torch.no_grad():
        start = current.parameters
        store = TensorStore()
        last: tuple[Problem, Sequence[LinearImage]] | None = None
        shape = ShapeSlopes(current.model, start)
        for number, pixels in enumerate(WORKING_PIXELS):
            if not steps.left:
                break
            last = None  # its images are large
            if number == 1 and second_look is not None:
                in_pose = posed(second_look(current), current)
            photos = [
                PhotoProblem(
                    WorkingPhoto.of(shot.observation, pixels),
                    shot,
                    renderer,
                    settings,
                    PriorShares.of(current.sharing, photo),
                    store,
                    interreflection_of(renderer, current.scene(photo), current.bands),
                )
                for photo, shot in enumerate(in_pose)
            ]
            problem = Problem(photos, settings.weights)
            images: Sequence[LinearImage] = problem.drawn(current)
            if number == 0 and start.albedo.numel():
                current = _with_albedo_for_light(current, images, problem, steps)
            current, images = _stepped(current, images, problem, None, steps, ENOUGH_OF_COLOUR)
            current, images = _stepped(current, images, problem, shape, steps, ENOUGH)
            last = problem, images
        if last is None:
            return current
        problem, images = last
        return replace(current, shape_deviation=problem.shape_deviation(current, images, shape))


@dataclass
class Steps:
    """Counts and reports steps."""

    left: int  # that may still be taken
    watcher: Watcher
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
        self.watcher.on_loss(loss)
        self.watcher.on_state(self.done, state)
        self.done += 1
        self.left -= 1


def _with_albedo_for_light(
    current: Reconstruction, images: Sequence[LinearImage], problem: Problem, steps: Steps
) -> Reconstruction:
    """The light as usually exposed, and an albedo that explains how bright the skin is in it."""
    light = usually_exposed(current.parameters.light)
    current = current.with_parameters(replace(current.parameters, light=light))
    return _stepped(current, images, problem, None, steps, ENOUGH_AT_FIRST, light_moves=False)[0]


def _stepped(
    current: Reconstruction,
    images: Sequence[LinearImage],
    problem: Problem,
    shape: ShapeSlopes | None,
    steps: Steps,
    enough: float,
    light_moves: bool = True,
) -> tuple[Reconstruction, Sequence[LinearImage]]:
    """Where steps end, and the images there.

    Steps are of light and albedo alone where no slopes of the shape are given.
    """
    layout = UnknownLayout.of(current.parameters, current.sharing, shape is not None, light_moves)
    slopes = _slopes(current, shape)
    loss = steps.check(problem.loss(current, images))
    damping, system, least = FIRST_DAMPING, None, 0.0
    while steps.left and damping < MOST_DAMPING:
        if system is None:
            system = problem.system(current, images, slopes, layout)
            least = enough * problem.photo_error(current, images)
        moved = system.step(current, damping)
        drawn = images if shape is None else problem.drawn(moved)
        after = problem.loss(moved, drawn)
        gain = loss - after
        if gain > 0:
            current, images, loss, system = moved, drawn, after, None
        damping = max(damping / 3, LEAST_DAMPING) if gain > 0 else damping * 10
        steps.taken(loss, current)
        if 0 < gain < least:
            break
    return current, images


def _slopes(current: Reconstruction, shape: ShapeSlopes | None) -> list[ModelSlopes]:
    """Of the model, for each row of the albedo."""
    return [
        ModelSlopes(reflectance_slopes(current.model, albedo[None]), shape)
        for albedo in current.parameters.albedo
    ]


@dataclass(frozen=True)
class Problem:
    """All photos at one size, and what is known of the person beforehand."""

    photos: Sequence[PhotoProblem]
    weights: StatisticalWeights

    def drawn(self, state: Reconstruction) -> list[LinearImage]:
        """The photos' pixels at a reconstruction's geometry."""
        return [photo.drawn(state[number]) for number, photo in enumerate(self.photos)]

    def loss(self, state: Reconstruction, images: Sequence[LinearImage]) -> float:
        """All terms, the photos' own as means over photos.

        So what is known of the person weighs less the more photos there are.
        """
        total = person_term(state.parameters, self.weights)
        for number, (photo, image) in enumerate(zip(self.photos, images, strict=True)):
            total = total + photo.loss(state[number], image)
        return float(total) / len(self.photos)

    def photo_error(self, state: Reconstruction, images: Sequence[LinearImage]) -> float:
        """How far the pictures are from the photos, the mean over these."""
        pairs = zip(self.photos, images, strict=True)
        errors = [float(photo.photo_error(state[number], image)) for number, (photo, image) in enumerate(pairs)]
        return sum(errors) / len(errors)

    def system(
        self,
        state: Reconstruction,
        images: Sequence[LinearImage],
        slopes: Sequence[ModelSlopes],
        layout: UnknownLayout,
    ) -> System:
        """What all terms say of the unknowns, to first order around a state.

        Parameters
        ----------
        slopes: of the model, for each row of the albedo.
        """
        equations: list[NormalEquations] = []
        bounds: dict[Group, tuple[Tensor, Tensor]] = {}
        for number, (photo, image) in enumerate(zip(self.photos, images, strict=True)):
            single = state[number]
            about = slopes[state.sharing.rows("albedo")[number]]
            equations.append(photo.equations(single, image, about, layout))
            _narrow(bounds, photo.bounds(single, layout), layout.groups(number))
        for name, weight in person_weights(state.parameters, self.weights).items():
            if layout.sizes.get(name):
                root, rows = weight**0.5, getattr(state.parameters, name).cpu()
                for values, first in zip(rows, state.sharing.firsts(name), strict=True):
                    equations[first].add(root * torch.eye(len(values)), root * values, layout.first(name))
        return System(layout, equations, bounds)

    def shape_deviation(
        self, state: Reconstruction, images: Sequence[LinearImage], shape: ShapeSlopes
    ) -> Tensor | None:
        """How sure all terms are of the shape at a minimum, [V] mm; see `posterior`.

        None where the identity has no prior, or is not one person's in all photos.
        """
        unit = person_weights(state.parameters, self.weights)["identity"]
        if unit == 0 or state.sharing.count("identity") > 1 or not state.parameters.identity.numel():
            return None
        layout = UnknownLayout.of(state.parameters, state.sharing, geometry=True)
        system = self.system(state, images, _slopes(state, shape), layout)
        precision = identity_precision(system.photos, layout) / unit
        parameters, rest = state[0].parameters, state.model.expression_prior.mean
        basis = shape.around(replace(parameters, expression=rest[None]))[..., : len(precision)]
        neutral = neutral_vertices(state.model, parameters.identity)[0]
        return vertex_deviation(precision, basis, neutral, face_of(state.model))


@dataclass(frozen=True)
class System:
    """Normal equations of all photos, and the bounds of each group's unknowns."""

    layout: UnknownLayout
    photos: list[NormalEquations]
    bounds: dict[Group, tuple[Tensor, Tensor]]

    def step(self, current: Reconstruction, damping: float) -> Reconstruction:
        """The state after a step with this damping."""
        sizes = [self.layout.groups(photo) for photo in range(len(self.photos))]
        steps = solve(self.photos, sizes, damping, self.bounds)
        return current.with_parameters(self.layout.moved(current.parameters, steps))


def _narrow(
    bounds: dict[Group, tuple[Tensor, Tensor]], more: tuple[Tensor, Tensor], sizes: Mapping[Group, int]
) -> None:
    """Let each group's unknowns stay within a photo's bounds [U] of its unknowns, too."""
    parts = zip(sizes, *(bound.split(list(sizes.values())) for bound in more), strict=True)
    for group, lower, upper in parts:
        least, most = bounds.get(group, (lower, upper))
        bounds[group] = torch.maximum(least, lower), torch.minimum(most, upper)
