"""Renders of all photos, one after another, into one accumulated gradient.

Each photo's graph is built, differentiated and freed before the next one's, so memory does not grow with the
number of photos. Gradients accumulate in leaf tensors; what photos share and is costly to compute (maps) is cut
off with `Shared`, whose gradient is handed on once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from nextface.errors import DivergedError
from nextface.fitting.terms.losses import PhotoTerm
from nextface.fitting.terms.sampling import render_seed
from nextface.photos.observation import Observation
from nextface.scene import Scene
from renderers.renderer import Renderer

PHOTO_SCALE = 1000.0  # photo-consistency is a mean of squares near 0.001; it leads the sum of terms

PhotoScene = Callable[[int], Scene]
ExtraTerms = Callable[[int, Scene, Tensor], Tensor]


class PhotoLosses:
    """The photo-consistency of N photos, averaged over them.

    Parameters
    ----------
    stage: number of the stage, for messages.
    outlier: encoded residual from which on a pixel loses weight.
    samples: light paths a pixel and iteration.
    seed, first_iteration: of the run, and where this stage's seeds start.
    shares: [h, w] for each photo, weights of its pixels beside the other photos' (`relative_visibility`).
    """

    def __init__(
        self,
        stage: int,
        observations: Sequence[Observation],
        renderer: Renderer,
        outlier: float,
        samples: int,
        seed: int,
        first_iteration: int,
        shares: Sequence[Tensor] | None = None,
    ) -> None:
        weights: Sequence[Tensor | None] = shares or [None] * len(observations)
        pairs = zip(observations, weights, strict=True)
        self._terms = [PhotoTerm(observation, outlier, share) for observation, share in pairs]
        self._stage, self._renderer = stage, renderer
        self._samples, self._seed, self._first_iteration = samples, seed, first_iteration

    def backward(self, iteration: int, scene_of: PhotoScene, extra_terms: ExtraTerms | None = None) -> float:
        """Add the gradient of all photos' losses to the leaves, photo by photo, and return the mean loss.

        Parameters
        ----------
        scene_of: builds the scene (N = 1) of a photo.
        extra_terms: further terms of a photo, from its number, its scene and its render [h, w, 4].

        Raises
        ------
        DivergedError: if a loss is NaN or infinite.
        """
        total = 0.0
        for photo, term in enumerate(self._terms):
            scene = scene_of(photo)
            seed = render_seed(self._seed, self._first_iteration + iteration, photo)
            image = self._renderer.render(scene, self._samples, seed)[0]
            loss = PHOTO_SCALE * term(image)
            if extra_terms is not None:
                loss = loss + extra_terms(photo, scene, image)
            total += differentiate(loss / len(self._terms), iteration, self._stage)
        return total


class Shared:
    """Tensors that all photos use: computed once, and differentiated once with the photos' summed gradient."""

    def __init__(self, *values: Tensor) -> None:
        self._values = values
        self.leaves = tuple(value.detach().requires_grad_() for value in values)

    def reached(self) -> tuple[list[Tensor], list[Tensor]]:
        """The values whose leaves have gathered a gradient, and these gradients."""
        pairs = [(value, leaf.grad) for value, leaf in zip(self._values, self.leaves, strict=True)]
        known = [(value, gradient) for value, gradient in pairs if gradient is not None]
        return [value for value, _ in known], [gradient for _, gradient in known]


def differentiate(loss: Tensor, iteration: int, stage: int, shared: Shared | None = None) -> float:
    """Add a loss's gradient to the leaves, with what photos have gathered in `shared`; return the loss's value.

    Raises
    ------
    DivergedError: if it is NaN or infinite.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(f"The loss became {value} in iteration {iteration} of stage {stage}.")
    values, gradients = shared.reached() if shared is not None else ([], [])
    for shared_value, gradient in zip(values, gradients, strict=True):
        loss = loss + shared_value.flatten() @ gradient.flatten()  # its gradient is that of the photos
    loss.backward()
    return value
