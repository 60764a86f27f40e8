"""Stage 2: identity and albedo of the person, expression, light and pose in each photo, by rendering.

This is the way through the renderer's own gradients, for what light transfer cannot draw;
`nextface.fitting.statistical.gauss_newton` minimises the same where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.landmarks.coarse import (
    DISTANCE_RANGE,
    expected_expression,
    landmark_points,
    landmark_whitening,
)
from nextface.fitting.statistical.coverage import coverage_term
from nextface.fitting.statistical.terms import (
    FOCAL_WEIGHT,
    OUTLIER_RESIDUAL,
    StatisticalWeights,
    expression_scale,
    focal_surprise,
    person_term,
)
from nextface.fitting.terms.accumulation import PhotoLosses, differentiate
from nextface.fitting.terms.losses import light_term
from nextface.models.face_model import LandmarkEmbedding
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
from nextface.photos.observation import Observation
from nextface.scene import Scene
from renderers.renderer import Renderer

LIGHT_FIRST = 0.25  # fraction of the iterations in which only light and albedo move
LEARNING_RATES = {  # a step, in each parameter's unit
    "identity": 0.04,
    "expression": 0.02,  # of a blendshape's weight; others' as their spreads
    "albedo": 0.04,
    "rotation": 0.002,
    "translation": 0.4,
    "focal": 0.002,
    "light": 0.05,
}
APPEARANCE = ("albedo", "light")
LAST_RATE = 0.1  # learning rates fall to this fraction of their start, along a cosine


def fit_statistical(
    reconstruction: Reconstruction,
    observations: Sequence[Observation],
    embeddings: Sequence[LandmarkEmbedding],
    renderer: Renderer,
    weights: StatisticalWeights,
    iterations: int,
    samples: int,
    seed: int,
    optimize_focal: bool,
    progress: Callable[[float], None],
    on_iteration: Callable[[int, Reconstruction], None],
) -> Reconstruction:
    """The reconstruction with all statistical parameters fitted to its photos together, by Adam.

    Parameters
    ----------
    embeddings: where each photo's detector puts its points on the model.
    renderer: is given scenes whose geometry wants no gradients as long as only light and albedo move.
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
    photos = PhotoLosses(2, observations, renderer, OUTLIER_RESIDUAL, samples, seed, first_iteration=0)
    appearance_only = round(LIGHT_FIRST * iterations)
    whitenings = [
        landmark_whitening(reconstruction[photo], *pair)
        for photo, pair in enumerate(zip(observations, embeddings, strict=True))
    ]

    model = reconstruction.model
    expected = torch.stack([expected_expression(seen, model) for seen in observations]).to(start.expression)
    scale = expression_scale(model.expression_prior)

    def beside(photo: int, scene: Scene, image: Tensor) -> Tensor:
        """The landmark, coverage and focal length terms of a photo."""
        observation, embedding = observations[photo], embeddings[photo]
        outline = scene.camera.project(scene.mesh.vertices)[0]
        points = landmark_points(scene.mesh.vertices, reconstruction.model, embedding)
        offsets = scene.camera.project(points)[0] - observation.landmarks[embedding.indices]
        term = whitenings[photo].term(offsets)
        term = term + coverage_term(outline, image[..., 3], observation)
        surprise = focal_surprise(scene.camera.intrinsics[0, 0, 0].log(), observation)
        return weights.landmarks * term + FOCAL_WEIGHT * surprise.square()

    for iteration in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATES[group["name"]] * _cosine(iteration / iterations)
        moving = APPEARANCE if iteration < appearance_only else leaves.keys()
        current = reconstruction.with_parameters(
            Parameters(**{name: leaf if name in moving else leaf.detach() for name, leaf in leaves.items()})
        )
        optimizer.zero_grad()
        loss = differentiate(_priors(current.parameters, expected, scale, weights), iteration, stage=2)
        loss += photos.backward(iteration, current.scene, beside)
        if (
            iteration < appearance_only
        ):  # the light starts grey and stays so: colour is the skin's, if it can be
            leaves["light"].grad.copy_(leaves["light"].grad.mean(-1, keepdim=True).expand_as(leaves["light"]))
        expression = leaves["expression"].detach().clone()
        optimizer.step()
        with torch.no_grad():  # Adam's steps are of one length; those of expressions are as their spreads
            leaves["expression"].copy_(torch.lerp(expression, leaves["expression"], 1 / scale))
        _confine(leaves, current)
        state = current.with_parameters(Parameters(**leaves).detached())
        if not state.parameters.is_finite():
            raise DivergedError(f"A parameter became NaN or infinite in iteration {iteration} of stage 2.")
        progress(loss)
        on_iteration(iteration, state)
    return reconstruction.with_parameters(Parameters(**leaves).detached())


def _cosine(fraction: float) -> float:
    return float(LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * fraction))))


def _priors(parameters: Parameters, expected: Tensor, scale: Tensor, weights: StatisticalWeights) -> Tensor:
    """What is known before any photo is drawn, with the expressions [N, E] that detectors let expect.

    `scale` [E] is `expression_scale`'s.

    The photos' terms are averaged. So a prior of what they share weighs less the more photos there are, while
    priors of each photo's own parameters are means over photos themselves.
    """
    count = len(parameters.expression)
    total = light_term(parameters.light) * weights.light
    total = total + ((parameters.expression - expected) * scale).square().mean() * weights.expression
    return total + person_term(parameters, weights) / count


@torch.no_grad()
def _confine(leaves: dict[str, Tensor], current: Reconstruction) -> None:
    """Keep expressions and the distance within their bounds."""
    prior = current.model.expression_prior
    leaves["expression"].clamp_(prior.low, prior.high)
    leaves["translation"][:, 2].clamp_(*DISTANCE_RANGE)
