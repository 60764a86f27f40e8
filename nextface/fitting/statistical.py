"""Stage 2: identity, expression, albedo, light and pose from the photo, by differentiable rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.coarse import DISTANCE_RANGE, landmark_points, landmark_weights
from nextface.fitting.losses import PhotoTerm, coverage_term, landmark_term, light_term
from nextface.fitting.observation import Observation
from nextface.fitting.sampling import render_seed
from nextface.models.face_model import LandmarkEmbedding
from nextface.reconstruction import Parameters, Reconstruction
from renderers.renderer import Renderer

PHOTO_SCALE = 1000.0  # photo-consistency is a mean of squares near 0.001; it leads the sum of terms
OUTLIER_RESIDUAL = 0.12  # beards, brows and moles are beyond a statistical model: they must not bend it
LIGHT_FIRST = 0.25  # fraction of the iterations in which only light and albedo move
LEARNING_RATES = {  # a step, in each parameter's unit
    "identity": 0.04,
    "expression": 0.02,
    "albedo": 0.04,
    "rotation": 0.002,
    "translation": 0.4,
    "focal": 0.002,
    "light": 0.05,
}
APPEARANCE = ("albedo", "light")
LAST_RATE = 0.1  # learning rates fall to this fraction of their start, along a cosine


@dataclass(frozen=True)
class StatisticalWeights:
    """Weights of the terms beside photo-consistency; each term is a mean."""

    landmarks: float
    identity: float
    expression: float
    albedo: float
    light: float


def fit_statistical(
    reconstruction: Reconstruction,
    observations: Sequence[Observation],
    embedding: LandmarkEmbedding,
    renderer: Renderer,
    weights: StatisticalWeights,
    iterations: int,
    samples: int,
    seed: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
    on_iteration: Callable[[int, Reconstruction], None],
) -> Reconstruction:
    """The reconstruction of N photos with all statistical parameters fitted by Adam.

    Parameters
    ----------
    samples: light paths a pixel and iteration.
    on_iteration: called after each step with its number and the current state, for debugging and interrupts.

    Raises
    ------
    DivergedError: if the loss or a parameter becomes NaN or infinite.
    """
    start = reconstruction.parameters
    leaves = {item.name: getattr(start, item.name).detach().clone().requires_grad_() for item in fields(start)}
    if not optimize_focal:
        leaves["focal"].requires_grad_(False)
    optimizer = torch.optim.Adam(
        [
            {"params": [leaf], "name": name}
            for name, leaf in leaves.items()
            if leaf.requires_grad and leaf.numel()
        ],
        betas=(0.9, 0.99),
    )
    photo_terms = [PhotoTerm(observation, OUTLIER_RESIDUAL) for observation in observations]
    appearance_only = round(LIGHT_FIRST * iterations)
    trust = landmark_weights(reconstruction, embedding)
    for iteration in range(iterations):
        for group in optimizer.param_groups:
            frozen = iteration < appearance_only and group["name"] not in APPEARANCE
            group["lr"] = 0.0 if frozen else LEARNING_RATES[group["name"]] * _cosine(iteration / iterations)
        current = reconstruction.with_parameters(Parameters(**leaves))
        optimizer.zero_grad()
        loss = _priors(current, start, observations, embedding, trust, weights)
        scene = current.scene()
        for photo, term in enumerate(photo_terms):
            image = renderer.render(scene[photo], samples, render_seed(seed, iteration, photo))[0]
            outline = current.camera().project(scene.mesh.vertices)[photo]
            short = coverage_term(outline, image[..., 3], term.observation)
            loss = loss + (PHOTO_SCALE * term(image) + weights.landmarks * short) / len(photo_terms)
        if not torch.isfinite(loss):
            raise DivergedError(f"The loss became {loss.item()} in iteration {iteration} of stage 2.")
        loss.backward()
        if (
            iteration < appearance_only
        ):  # the light starts grey and stays so: colour is the skin's, if it can be
            leaves["light"].grad.copy_(leaves["light"].grad.mean(-1, keepdim=True).expand_as(leaves["light"]))
        optimizer.step()
        _confine(leaves, current)
        state = current.with_parameters(Parameters(**leaves).detached())
        if not state.parameters.is_finite():
            raise DivergedError(f"A parameter became NaN or infinite in iteration {iteration} of stage 2.")
        progress(loss.item())
        on_iteration(iteration, state)
    return reconstruction.with_parameters(Parameters(**leaves).detached())


def _cosine(fraction: float) -> float:
    return float(LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * fraction))))


def _priors(
    current: Reconstruction,
    start: Parameters,
    observations: Sequence[Observation],
    embedding: LandmarkEmbedding,
    trust: Tensor,
    weights: StatisticalWeights,
) -> Tensor:
    """Every term that needs no rendering."""
    parameters, model = current.parameters, current.model
    points = landmark_points(current.vertices(), model, embedding)
    projected = current.camera().project(points)
    total = light_term(parameters.light) * weights.light
    total = total + parameters.identity.square().mean() * weights.identity
    total = total + parameters.expression.square().mean() * weights.expression
    if parameters.albedo.numel():
        total = total + parameters.albedo.square().mean() * weights.albedo
    for photo, observation in enumerate(observations):
        term = landmark_term(projected[photo], observation, embedding.indices, trust[photo])
        total = total + weights.landmarks * term / len(observations)
        prior = torch.log(torch.tensor(observation.focal, device=parameters.focal.device))
        total = total + 0.1 * ((parameters.focal[photo] - prior) / observation.focal_spread).square()
    return total


@torch.no_grad()
def _confine(leaves: dict[str, Tensor], current: Reconstruction) -> None:
    """Keep expressions and the distance within their bounds."""
    leaves["expression"].clamp_(*current.model.expression_bounds)
    leaves["translation"][:, 2].clamp_(*DISTANCE_RANGE)
