"""Stage 2 without noise: Gauss-Newton on pixels, landmarks and priors together.

What is minimised is what `nextface.fitting.statistical` minimises by descent through the renderer. Here
images come from light transfer, every pixel's derivatives are known (`nextface.fitting.linear_image`), and all
unknowns are solved for at once: whatever trades off against each other, as light and albedo or pose and shape
do, does so in one step (Levenberg, 1944; Marquardt, 1963). Robust weights are found again before every step.

At every size of the photo, light and albedo move alone first, which costs next to nothing. Then the geometry
moves with them, and rays are traced again after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.accumulation import PHOTO_SCALE
from nextface.fitting.coarse import (
    DISTANCE_RANGE,
    expected_expression,
    landmark_points,
    landmark_weights,
)
from nextface.fitting.linear_image import LinearImage
from nextface.fitting.losses import (
    EMPTY_PIXEL_PENALTY,
    MOST_PULLS,
    landmark_term,
    light_residual_slopes,
    light_residuals,
)
from nextface.fitting.normal_equations import NormalEquations, solve
from nextface.fitting.observation import Observation
from nextface.fitting.point_motion import POSE, image_motion, shape_basis
from nextface.fitting.statistical import FOCAL_WEIGHT, OUTLIER_RESIDUAL, StatisticalWeights
from nextface.fitting.working_photo import WorkingPhoto
from nextface.models.face_model import LandmarkEmbedding
from nextface.reconstruction import LIGHT_LOBES, Parameters, Reconstruction
from renderers.renderer import Transferable

WORKING_PIXELS = (1200, 3500)  # of the mask, from coarse to fine
DIRECTIONS = 256  # of light that are followed
ENOUGH = 8e-3  # a step that lessens the loss by less than this fraction is the last one of its size
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e-3, 2.0
LARGEST_STEP = {
    "identity": 1.0,
    "albedo": 1.0,
    "rotation": 0.1,
    "translation": 40.0,
    "focal": 0.1,
    "light": 1.0,
}


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

    Parameters
    ----------
    embeddings: where each photo's detector puts its points on the model.
    renderer: says what is reflected, and what casts shadows.
    iterations: the most steps; fewer where the loss stops falling.
    on_iteration: called after each step with its number and the current state, for debugging and interrupts.

    Raises
    ------
    DivergedError: if the loss becomes NaN or infinite.
    """
    steps = Steps(iterations, progress, on_iteration)
    current = reconstruction.with_parameters(reconstruction.parameters.detached())
    trust = [landmark_weights(current.scene(photo), embedding) for photo, embedding in enumerate(embeddings)]
    with torch.no_grad():
        for pixels in WORKING_PIXELS:
            if not steps.left:
                break
            photos = [
                PhotoProblem(
                    WorkingPhoto.of(seen, pixels), seen, embedding, weight, renderer, weights, optimize_focal
                )
                for seen, embedding, weight in zip(observations, embeddings, trust, strict=True)
            ]
            current = _descended(current, photos, weights, steps)
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


def _descended(
    current: Reconstruction, photos: Sequence[PhotoProblem], weights: StatisticalWeights, steps: Steps
) -> Reconstruction:
    """Where steps at one size of the photos end: first of light and albedo alone, then of everything."""
    images = [photo.drawn(current[number]) for number, photo in enumerate(photos)]
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
) -> Reconstruction:
    """Where steps end; they are of light and albedo alone where no basis of the geometry is given."""
    loss = steps.check(_loss(current, photos, images, weights))
    damping, system = FIRST_DAMPING, None
    while steps.left and damping < MOST_DAMPING:
        if system is None:
            system = System.of(current, photos, images, weights, basis)
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
        if 0 < gain < ENOUGH:
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
    ) -> System:
        """The system around a state; without a basis of the geometry, for light and albedo alone."""
        layout = Layout.of(current)
        equations, bounds = [], []
        for number, (photo, image) in enumerate(zip(photos, images, strict=True)):
            alone = current[number]
            one = photo.equations(alone, image, layout, basis)
            for name, weight in (("identity", weights.identity), ("albedo", weights.albedo)):
                values = getattr(alone.parameters, name)[0]
                if len(values):
                    root = (weight / len(values)) ** 0.5
                    surplus = 0 * values if name == "identity" and basis is None else values
                    one.add(root * torch.eye(len(values)), root * surplus.cpu(), layout.first(name))
            equations.append(one)
            bounds.append(photo.bounds(alone, layout, basis is not None))
        return cls(layout, equations, bounds)

    def step(self, current: Reconstruction, damping: float) -> Reconstruction:
        """The state after a step with this damping."""
        lower, upper = zip(*self.bounds, strict=True)
        person, own = solve(self.photos, self.layout.shared, damping, lower, upper)
        return current.with_parameters(self.layout.moved(current.parameters, person, own))


@dataclass(frozen=True)
class Layout:
    """Where one photo's unknowns lie in a row: identity and albedo, which photos share, then its own."""

    sizes: dict[str, int]

    @classmethod
    def of(cls, state: Reconstruction) -> Layout:
        """The layout of a reconstruction's parameters."""
        parameters = state.parameters
        names = ("identity", "albedo", "expression", "rotation", "translation", "focal")
        sizes = {name: getattr(parameters, name)[0].numel() for name in names}
        return cls({**sizes, "light": 3 * LIGHT_LOBES})

    @property
    def shared(self) -> int:
        """How many unknowns the photos share."""
        return self.sizes["identity"] + self.sizes["albedo"]

    @property
    def unknowns(self) -> int:
        """How many there are in all."""
        return sum(self.sizes.values())

    def first(self, name: str) -> int:
        """The first unknown of a parameter."""
        names = list(self.sizes)
        return sum(self.sizes[other] for other in names[: names.index(name)])

    def moved(self, parameters: Parameters, person: Tensor, own: Sequence[Tensor]) -> Parameters:
        """The parameters after the steps of `nextface.fitting.normal_equations.solve`."""
        rows = torch.stack([torch.cat([person, one]) for one in own])
        values = {}
        for item in fields(parameters):
            old = getattr(parameters, item.name)
            first = self.first(item.name)
            step = rows[: len(old), first : first + self.sizes[item.name]]
            if item.name == "light":
                step = step.unflatten(1, (3, -1)).mT
            most = LARGEST_STEP.get(item.name, math.inf)
            values[item.name] = old + step.reshape(old.shape).clamp(-most, most).to(old)
        return Parameters(**values)


@dataclass(frozen=True)
class PhotoProblem:
    """What one photo asks of the parameters."""

    photo: WorkingPhoto
    observation: Observation  # at the processed photo's size
    embedding: LandmarkEmbedding
    trust: Tensor  # [L] in the landmarks
    renderer: Transferable
    weights: StatisticalWeights
    optimize_focal: bool

    def drawn(self, state: Reconstruction) -> LinearImage:
        """The photo's pixels at a reconstruction's geometry (N = 1), the mask's and their neighbours."""
        mask = self.photo.observation.mask[None, None].float()
        near = torch.nn.functional.max_pool2d(mask, 3, 1, 1)[0, 0] > 0
        return LinearImage(state, self.photo, near, self.renderer, DIRECTIONS)

    def loss(self, state: Reconstruction, image: LinearImage) -> Tensor:
        """All terms of this photo."""
        seen, parameters = self.photo.observation, state.parameters
        residual, inside, _ = self._residuals(parameters, image)
        squares = residual.square().mean(1)
        robust = squares / (1 + squares / OUTLIER_RESIDUAL**2)
        empty = EMPTY_PIXEL_PENALTY * (1 - image.points.coverage[seen.mask]).sum()
        total = PHOTO_SCALE * ((robust * inside).sum() + empty) / seen.mask.sum()
        points = landmark_points(state.vertices(), state.model, self.embedding)
        projected = state.camera().project(points)[0]
        landmarks = landmark_term(projected, self.observation, self.embedding.indices, self.trust)
        total = total + self.weights.landmarks * landmarks
        pulled, vertex = self._empty_pixels(state, image)
        if len(pulled):
            offsets = self._hundredths(state.camera().project(state.vertices()[:, vertex])[0] - pulled)
            total = total + self.weights.landmarks * self._pull(image) * offsets.square().sum(1).mean()
        total = total + FOCAL_WEIGHT * self._focal_surprise(parameters).square()
        total = total + self.weights.expression * self._expression_surprise(state).square().mean()
        return total + self.weights.light * light_residuals(parameters.light[0]).square().sum()

    def equations(
        self, state: Reconstruction, image: LinearImage, layout: Layout, basis: Tensor | None
    ) -> NormalEquations:
        """The normal equations of all terms of this photo, linearised around a state."""
        parameters = state.parameters
        total = NormalEquations.zeros(layout.unknowns)
        self._add_pixels(total, state, image, layout, basis)
        if basis is not None:
            self._add_points(total, state, image, layout, basis)
        slopes = light_residual_slopes(parameters.light[0])  # [R, LOBES, 3]
        root = self.weights.light**0.5
        residuals = root * light_residuals(parameters.light[0])
        total.add(root * slopes.mT.flatten(1), residuals, layout.first("light"))
        return total

    def bounds(self, state: Reconstruction, layout: Layout, geometry: bool) -> tuple[Tensor, Tensor]:
        """Least and largest steps of the photo's own unknowns."""
        size = layout.unknowns - layout.shared
        lower, upper = torch.full((size,), -math.inf).double(), torch.full((size,), math.inf).double()

        def span(name: str) -> slice:
            first = layout.first(name) - layout.shared
            return slice(first, first + layout.sizes[name])

        expression = state.parameters.expression[0].double().cpu()
        lower[span("expression")] = state.model.expression_bounds[0] - expression
        upper[span("expression")] = state.model.expression_bounds[1] - expression
        depth = span("translation").stop - 1
        lower[depth] = DISTANCE_RANGE[0] - float(state.parameters.translation[0, 2])
        upper[depth] = DISTANCE_RANGE[1] - float(state.parameters.translation[0, 2])
        if not self.optimize_focal:
            lower[span("focal")] = upper[span("focal")] = 0
        if not geometry:
            still = slice(0, span("light").start)
            lower[still] = upper[still] = 0
        return lower, upper

    def _residuals(self, parameters: Parameters, image: LinearImage) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded residuals [P, 3] of the drawn pixels, which of them count [P], and the colour [P, 3]."""
        seen = self.photo.observation
        colour = image.colour(parameters)
        pixel = image.pixel
        residual = (colour - seen.linear.flatten(0, 1)[pixel]) * seen.slope.flatten(0, 1)[pixel]
        brighter = residual.mean(1) >= 0
        counts = seen.mask.flatten()[pixel] & ~(seen.clipped.flatten()[pixel] & brighter)
        return residual, counts.float(), colour

    def _add_pixels(
        self,
        total: NormalEquations,
        state: Reconstruction,
        image: LinearImage,
        layout: Layout,
        basis: Tensor | None,
    ) -> None:
        seen, parameters = self.photo.observation, state.parameters
        residual, inside, colour = self._residuals(parameters, image)
        squares = residual.square().mean(1)
        weight = inside * (1 + squares / OUTLIER_RESIDUAL**2) ** -2 * PHOTO_SCALE / (3 * seen.mask.sum())
        chosen = (weight > 0).nonzero()[:, 0]
        root = weight[chosen].sqrt()[:, None] * seen.slope.flatten(0, 1)[image.pixel[chosen]]  # [P, 3]
        residual = residual[chosen] * weight[chosen].sqrt()[:, None]
        blocks: list[tuple[int, Tensor]] = []
        if layout.sizes["albedo"]:
            blocks.append((layout.first("albedo"), image.albedo_slopes(parameters)[chosen]))
        if basis is not None:
            shape = image.geometry_slopes(parameters, basis, colour)[chosen]
            blocks += self._shape_blocks(shape, layout)
        light = image.light_slopes(parameters)[:, chosen]
        for channel in range(3):
            factor = root[:, channel, None]
            mine = [(first, slopes[:, channel] * factor) for first, slopes in blocks]
            place = layout.first("light") + channel * LIGHT_LOBES
            total.add_block([*mine, (place, light[channel] * factor)], residual[:, channel])

    @staticmethod
    def _shape_blocks(slopes: Tensor, layout: Layout) -> list[tuple[int, Tensor]]:
        """Slopes [..., K + 7] by shape and pose, each with the place of its first unknown."""
        sizes = [layout.sizes["identity"], layout.sizes["expression"] + len(POSE)]
        identity, own = slopes.split(sizes, -1)
        return [(layout.first("identity"), identity), (layout.first("expression"), own)]

    def _add_points(
        self, total: NormalEquations, state: Reconstruction, image: LinearImage, layout: Layout, basis: Tensor
    ) -> None:
        """Landmarks, the pull of empty pixels, and the priors of expression and focal length."""
        camera, parameters = state.camera(), state.parameters
        embedding = self.embedding
        corner = state.model.triangles[embedding.triangles]
        share = embedding.barycentric.to(basis)
        offsets = self._landmark_offsets(state)
        root = self.trust / self.trust.sum() / (1 + offsets.square().sum(1) / 4).sqrt()
        root = (self.weights.landmarks * root).sqrt()
        points = landmark_points(state.vertices(), state.model, embedding)[0]
        slopes = image_motion(camera, points, (basis[corner] * share[..., None, None]).sum(1))
        self._add_offsets(total, slopes, offsets, root, layout)
        pulled, vertex = self._empty_pixels(state, image)
        if len(pulled):
            points = state.vertices()[0, vertex]
            offsets = self._hundredths(camera.project(points[None])[0] - pulled)
            root = torch.full_like(
                pulled[:, 0], (self.weights.landmarks * self._pull(image) / len(pulled)) ** 0.5
            )
            self._add_offsets(total, image_motion(camera, points, basis[vertex]), offsets, root, layout)
        size = layout.sizes["expression"]
        root = (self.weights.expression / size) ** 0.5
        surprise = root * self._expression_surprise(state).cpu()
        total.add(root * torch.eye(size), surprise, layout.first("expression"))
        spread = self.observation.focal_spread
        total.add(
            torch.full((1, 1), FOCAL_WEIGHT**0.5 / spread),
            FOCAL_WEIGHT**0.5 * self._focal_surprise(parameters).cpu(),
            layout.first("focal"),
        )

    def _add_offsets(
        self, total: NormalEquations, slopes: Tensor, offsets: Tensor, root: Tensor, layout: Layout
    ) -> None:
        """Count in offsets [Q, 2], with slopes [Q, 2, G] in pixels and weights root [Q]."""
        rows = (self._hundredths(slopes) * root[:, None, None]).flatten(0, 1)
        total.add_block(self._shape_blocks(rows, layout), (offsets * root[:, None]).flatten())

    def _landmark_offsets(self, state: Reconstruction) -> Tensor:
        """Offsets [L, 2] of the landmarks from where they were detected, in hundredths of the face's size."""
        points = landmark_points(state.vertices(), state.model, self.embedding)
        found = self.observation.landmarks[self.embedding.indices]
        return self._hundredths(state.camera().project(points)[0] - found)

    def _hundredths(self, pixels: Tensor) -> Tensor:
        return pixels * (100 / self.observation.face_size)

    def _empty_pixels(self, state: Reconstruction, image: LinearImage) -> tuple[Tensor, Tensor]:
        """Pixels [Q, 2] of the mask that the face leaves empty, and the vertices nearest to them."""
        mask = self.photo.observation.mask
        empty = (mask & (image.points.coverage < 0.5)).nonzero().flip(1) + 0.5
        pulled = empty[:: max(-(-len(empty) // MOST_PULLS), 1)]
        frame = state.frames[0]
        scale = pulled.new_tensor([frame.width / self.photo.width, frame.height / self.photo.height])
        pulled = pulled * scale
        outline = state.camera().project(state.vertices())[0]
        return pulled, torch.cdist(pulled, outline).argmin(1) if len(pulled) else pulled.new_zeros(0).long()

    def _pull(self, image: LinearImage) -> float:
        """Weight of the mean squared offset of the empty pixels."""
        mask = self.photo.observation.mask
        return float((mask & (image.points.coverage < 0.5)).sum() / (0.01 * mask.sum()))

    def _expression_surprise(self, state: Reconstruction) -> Tensor:
        """How far the expression [E] is from the one that the detector lets expect."""
        expected = expected_expression(self.observation, state.model.expression_names)
        return state.parameters.expression[0] - expected.to(state.parameters.expression)

    def _focal_surprise(self, parameters: Parameters) -> Tensor:
        """How many standard deviations [1] the focal length is from its prior mean."""
        return (parameters.focal - math.log(self.observation.focal)) / self.observation.focal_spread
