"""Stage 3: diffuse, specular and roughness, element by element, under the statistical model's guidance.

Corrections are made in the latent space of `nextface.scene.reflectance`. Errors of light and geometry leave
traces in a photo's residual that are mostly broader than pigment's; so the broader a correction is, the more
it costs, and a broad left-right difference most of all. Pigment darkens more than it tints, coloured light
and clipped highlights tint; so hue costs more than brightness. The light stands still: stage 2 found it where
skin is, and what the model cannot draw in the rest of the head, such as hair, would bend it.

A highlight in the wrong place or of the wrong size has the light's colour, not the skin's. F0 and roughness
are held loosely, so that they explain it: what they are kept from, the diffuse map takes up.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextface.fitting.refinement.domains import Domain
from nextface.fitting.refinement.skin_variation import colour_change
from nextface.fitting.refinement.space import RefinementSpace
from nextface.fitting.refinement.uniform_adam import UniformAdam
from nextface.fitting.refinement.visibility import relative_visibility
from nextface.fitting.terms.accumulation import PhotoLosses, Shared, differentiate
from nextface.fitting.terms.watcher import Watcher
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.scene import Material, Scene
from nextface.scene.reflectance import RANGES, from_latent, to_latent
from renderers.renderer import Renderer

FIRST_ITERATION = 1_000_000  # seeds of stage 3 follow those of stage 2
OUTLIER_RESIDUAL = 0.4  # maps can explain anything on skin; what the mask let through by mistake is worse
LEARNING_RATES = {"diffuse": 0.11, "specular": 0.2, "roughness": 0.11}
MOMENTUM = 0.8
SCALE_MEMORY = 0.95  # of the gradients' squares: they shrink fast at the start, and steps must not with them
WARM_UP = 8  # iterations in which learning rates rise: all levels start in the same direction, and overshoot
LAST_RATE = 0.1  # learning rates fall linearly to this fraction
SETTLING = (
    8  # iterations; where the loss falls by less than a share of STALLED over so many, rates begin to fall
)
STALLED = 0.02
COOLING = 24  # iterations in which they fall, without noise; the last one ends the stage
TAIL = 0.2  # fraction of the iterations, at the end, whose mean is the result: the noise of single steps goes
# How far F0's latent value goes from the model's: skin's is 0.02 to 0.05 by region (Weyrich et al., "Analysis
# of human faces using a measurement-based skin reflectance model", SIGGRAPH 2006), and its map no paint box.
F0_REACH = 0.7
MOST_OF_REACH = 0.98  # that an earlier map is taken to have gone: from there, gradients still lead back
BROAD_FACTORS = {32: 30.0, 64: 5.0, 128: 2.5}  # how much more what maps of so many texels show costs


@dataclass(frozen=True)
class MapWeights:
    """Weights of one reflectance's regularisers."""

    symmetry: float
    consistency: float
    smoothness: float


@dataclass(frozen=True)
class RefinementSettings:
    """How stage 3 is done."""

    weights: Mapping[str, MapWeights]  # regularisers of "diffuse", "specular" and "roughness"
    iterations: int  # at most
    samples: int  # light paths a pixel and iteration
    seed: int  # of the renderer's noise


def refine(
    reconstruction: Reconstruction,
    space: RefinementSpace,
    shots: Sequence[Shot],
    renderer: Renderer,
    settings: RefinementSettings,
    watcher: Watcher,
) -> Reconstruction:
    """The reconstruction with a refined material.

    Parameters
    ----------
    reconstruction: where to start; a material of the domain's layout, from an interrupted run, is continued.
    space: where corrections live, and what they are measured from.
    shots: the photos, one for each of the reconstruction's.

    Raises
    ------
    DivergedError: if the loss becomes NaN or infinite.
    """
    base, domain, iterations = space.base, space.domain, settings.iterations
    latents = {name: to_latent(getattr(base, name).detach(), name) for name in RANGES}
    # Light glints broadly, so F0 and roughness show no fine detail: half the resolution will do.
    domains = {"diffuse": domain, "specular": domain.coarser(), "roughness": domain.coarser()}
    earlier = {name: torch.zeros_like(latents[name]) for name in RANGES}
    if reconstruction.material is not None and reconstruction.material.is_mapped == base.is_mapped:
        for name in RANGES:
            known = to_latent(getattr(reconstruction.material, name), name)
            earlier[name] = _unbounded(domain.adopted(known) - latents[name], name)
    levels = {
        name: [level.requires_grad_() for level in domains[name].parameters(earlier[name])] for name in RANGES
    }

    def drawn_with(corrections: dict[str, Tensor]) -> Material:
        refined = {name: latents[name] + _bounded(domain.adopted(corrections[name]), name) for name in RANGES}
        return Material(**{name: from_latent(refined[name], name) for name in RANGES})

    groups = [(levels[name], LEARNING_RATES[name]) for name in RANGES]
    optimizer = UniformAdam(groups, betas=(MOMENTUM, SCALE_MEMORY))
    rates = _Rates(iterations, renderer.noisy)
    averages = _TailAverage(list(itertools.chain(*levels.values())), iterations)
    frozen = [reconstruction.scene(photo) for photo in range(len(shots))]
    observations = [shot.observation for shot in shots]
    photos = PhotoLosses(
        3,
        observations,
        renderer,
        OUTLIER_RESIDUAL,
        settings.samples,
        settings.seed,
        FIRST_ITERATION,
        relative_visibility(frozen, [observation.mask for observation in observations]),
    )
    for iteration in range(iterations):
        optimizer.zero_grad()
        corrections = {name: domains[name].correction(levels[name]) for name in RANGES}
        material = drawn_with(corrections)
        current = replace(reconstruction, material=material)
        shared = Shared(material.diffuse, material.specular, material.roughness)
        leaf = Material(*shared.leaves)

        def scene_of(photo: int, leaf: Material = leaf) -> Scene:
            return replace(frozen[photo], material=leaf)

        # Photo terms are averaged, and all photos share the maps: their prior counts once.
        measured = {
            **corrections,
            "diffuse": colour_change(latents["diffuse"], corrections["diffuse"], space.skin),
        }
        costs = [regulariser(measured[name], domains[name], settings.weights[name]) for name in RANGES]
        loss = torch.stack(costs).sum() / len(frozen)
        total = photos.backward(iteration, scene_of)
        total += differentiate(loss, iteration, stage=3, shared=shared)
        optimizer.step(rates.factor())
        rates.add(total)
        averages.add(iteration)
        watcher.on_loss(total)
        watcher.on_state(iteration, _detached(current))
        if rates.done:
            break
    averages.assign()
    with torch.no_grad():
        material = drawn_with({name: domains[name].correction(levels[name]) for name in RANGES})
    return replace(reconstruction, material=material)


def _bounded(correction: Tensor, name: str) -> Tensor:
    """A correction of a reflectance's latent value, kept within reach."""
    return F0_REACH * torch.tanh(correction / F0_REACH) if name == "specular" else correction


def _unbounded(correction: Tensor, name: str) -> Tensor:
    """What `_bounded` makes the correction of."""
    if name != "specular":
        return correction
    return F0_REACH * torch.atanh((correction / F0_REACH).clamp(-MOST_OF_REACH, MOST_OF_REACH))


class _Rates:
    """The learning rates' course over at most so many iterations: up, along, and down to the end.

    With noise they fall all along the way, which averages it out. Without it they begin to fall once the loss
    hardly does: so many iterations are done as it takes.
    """

    def __init__(self, iterations: int, noisy: bool) -> None:
        self._fall = iterations if noisy else min(COOLING, iterations)
        self._last, self._settles = iterations, not noisy
        self._losses: list[float] = []

    def add(self, loss: float) -> None:
        """Count in the loss of one more iteration."""
        self._losses.append(loss)
        if not self._settles or len(self._losses) <= SETTLING:
            return
        if min(self._losses[-SETTLING:]) > (1 - STALLED) * min(self._losses[:-SETTLING]):
            self._last = min(self._last, len(self._losses) + self._fall)
            self._settles = False

    @property
    def done(self) -> bool:
        """Whether this was the last iteration."""
        return len(self._losses) >= self._last

    def factor(self) -> float:
        """Of the learning rates in the next iteration."""
        iteration = len(self._losses)
        left = min((self._last - iteration) / self._fall, 1.0)
        return min((iteration + 1) / WARM_UP, 1.0) * (LAST_RATE + (1 - LAST_RATE) * left)


class _TailAverage:
    """The mean of parameters over the last iterations (Polyak and Juditsky, 1992)."""

    def __init__(self, parameters: list[Tensor], iterations: int) -> None:
        self._parameters = parameters
        self._means = [parameter.detach().clone() for parameter in parameters]
        self._first = iterations - max(round(TAIL * iterations), 1)

    def add(self, iteration: int) -> None:
        """Count in the parameters after an iteration."""
        share = 1 / max(iteration - self._first + 1, 1)
        for mean, parameter in zip(self._means, self._parameters, strict=True):
            mean.lerp_(parameter.detach(), share)

    @torch.no_grad()
    def assign(self) -> None:
        """Give the parameters their means."""
        for mean, parameter in zip(self._means, self._parameters, strict=True):
            parameter.copy_(mean)


def regulariser(correction: Tensor, domain: Domain, weights: MapWeights) -> Tensor:
    """Cost of a correction [1, ..., C] as it is measured: consistency, symmetry and smoothness."""
    cost = weights.consistency * _energy(correction, domain)
    cost = cost + weights.smoothness * domain.variation(correction)
    mirrored = domain.mirrored(correction)
    if mirrored is not None:
        cost = cost + weights.symmetry * _energy(correction - mirrored, domain)
    return cost


def _energy(values: Tensor, domain: Domain) -> Tensor:
    """Mean square of values [1, ..., C], the more so the broader they are."""
    total = domain.energy(values)
    for size, factor in BROAD_FACTORS.items():
        total = total + factor * domain.energy(domain.broad(values, size))
    return total


def _detached(reconstruction: Reconstruction) -> Reconstruction:
    material = reconstruction.material
    assert material is not None
    return replace(
        reconstruction,
        parameters=reconstruction.parameters.detached(),
        material=Material(material.diffuse.detach(), material.specular.detach(), material.roughness.detach()),
    )
