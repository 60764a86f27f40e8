"""Stage 2: identity and albedo of the person, expression, light and pose in each photo, by rendering.

This is the way through the renderer's own gradients, for what light transfer cannot draw;
`nextface.fitting.statistical.gauss_newton` minimises the same where it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.statistical.coverage import coverage_term
from nextface.fitting.statistical.terms import (
    OUTLIER_RESIDUAL,
    PORTRAIT_WEIGHT,
    StatisticalSettings,
    StatisticalWeights,
    expression_scale,
    person_term,
)
from nextface.fitting.terms.accumulation import PhotoLosses, differentiate
from nextface.fitting.terms.losses import light_term
from nextface.fitting.terms.portrait_prior import DISTANCE_RANGE, portrait_residuals
from nextface.fitting.terms.shot_on_model import ShotOnModel, posed
from nextface.fitting.terms.watcher import Watcher
from nextface.person.parameters import Parameters
from nextface.person.reconstruction import Reconstruction
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
    shots: Sequence[ShotOnModel],
    renderer: Renderer,
    settings: StatisticalSettings,
    watcher: Watcher,
) -> Reconstruction:
    """The reconstruction with all statistical parameters fitted to its photos together, by Adam.

    Parameters
    ----------
    shots: the photos, one for each of the reconstruction's.
    renderer: is given scenes whose geometry wants no gradients as long as only light and albedo move.

    Raises
    ------
    DivergedError: if the loss or a parameter becomes NaN or infinite.
    """
    start, weights, iterations = reconstruction.parameters, settings.weights, settings.iterations
    leaves = {item.name: getattr(start, item.name).detach().clone().requires_grad_() for item in fields(start)}
    if not settings.optimize_focal:
        leaves["focal"].requires_grad_(False)
    optimizer = torch.optim.Adam(
        [
            {"params": [leaf], "name": name}
            for name, leaf in leaves.items()
            if leaf.requires_grad and leaf.numel()
        ],
        betas=(0.9, 0.99),
    )
    observations = [shot.observation for shot in shots]
    photos = PhotoLosses(
        2, observations, renderer, OUTLIER_RESIDUAL, settings.samples, settings.seed, first_iteration=0
    )
    appearance_only = round(LIGHT_FIRST * iterations)
    in_pose = posed(shots, reconstruction)
    expected = torch.stack([shot.expression_prior.mean for shot in shots]).to(start.expression)
    scales = torch.stack([expression_scale(shot.expression_prior) for shot in shots]).to(start.expression)
    scale = expression_scale(reconstruction.model.expression_prior)

    def extra_terms(photo: int, scene: Scene, image: Tensor) -> Tensor:
        """The terms of a photo's landmarks, coverage, focal length and distance."""
        posed_shot, vertices = in_pose[photo], scene.mesh.vertices
        outline = scene.camera.project(vertices)[0]
        term = posed_shot.whitening.term(posed_shot.offsets(vertices, scene.camera))
        term = term + coverage_term(outline, image[..., 3], posed_shot.shot)
        residuals = portrait_residuals(scene.camera, posed_shot.lens)
        shares = [reconstruction.sharing.share(name, photo) for name in ("focal", "translation")]
        prior = (residuals.square() * residuals.new_tensor(shares)).sum()
        return weights.landmarks * term + PORTRAIT_WEIGHT * prior

    for iteration in range(iterations):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATES[group["name"]] * _cosine(iteration / iterations)
        moving = APPEARANCE if iteration < appearance_only else leaves.keys()
        current = reconstruction.with_parameters(
            Parameters(**{name: leaf if name in moving else leaf.detach() for name, leaf in leaves.items()})
        )
        optimizer.zero_grad()
        loss = differentiate(_priors(current, expected, scales, weights), iteration, stage=2)
        loss += photos.backward(iteration, current.scene, extra_terms)
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
        watcher.on_loss(loss)
        watcher.on_state(iteration, state)
    return reconstruction.with_parameters(Parameters(**leaves).detached())


def _cosine(fraction: float) -> float:
    return float(LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * fraction))))


def _priors(state: Reconstruction, expected: Tensor, scale: Tensor, weights: StatisticalWeights) -> Tensor:
    """What is known before any photo is drawn, with the expressions [N, E] that detectors let expect.

    `scale` [N, E] is `expression_scale`'s.

    The photos' terms are averaged. So a prior of what they share weighs less the more photos there are, while
    priors of each photo's own parameters are means over photos themselves.
    """
    parameters, sharing, count = state.parameters, state.sharing, len(state)
    total = light_term(parameters.light) * (weights.light * (len(parameters.light) / count))
    shares = torch.tensor([sharing.share("expression", photo) for photo in range(count)]).to(expected)
    residual = (sharing.by_photo("expression", parameters.expression) - expected) * scale
    total = total + (residual.square() * shares[:, None]).mean() * weights.expression
    return total + person_term(parameters, weights) / count


@torch.no_grad()
def _confine(leaves: dict[str, Tensor], current: Reconstruction) -> None:
    """Keep expressions and the distance within their bounds."""
    prior = current.model.expression_prior
    leaves["expression"].clamp_(prior.low, prior.high)
    leaves["translation"][:, 2].clamp_(*DISTANCE_RANGE)
