"""redner in this very interpreter, where it imports: the same scene without a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from renderers.redner.worker import LEAVES, DrawnScene


class RednerHere:
    """Draws scenes with the module `redner` of this interpreter, on as many threads as there are cores."""

    def load(self, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> LocalScene:
        """A scene; see `renderers.redner.worker.DrawnScene`."""
        return LocalScene(arrays, options)

    def start(self) -> None:
        """It has been imported, or will be: there is nothing to wait for."""

    def close(self) -> None:
        """There is nothing to release."""


class LocalScene:
    """A scene in arrays of its own."""

    def __init__(self, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> None:
        self._arrays = {name: np.array(values, order="C") for name, values in arrays.items()}
        self._scene = DrawnScene(self._arrays, dict(options))
        self._shape = (options["height"], options["width"], 4)

    def draw(self, samples: list[int], seeds: list[int]) -> np.ndarray:
        """The image [height, width, 4]: linear radiance, premultiplied by coverage, and coverage."""
        image = np.empty(self._shape, np.float32)
        self._scene.draw(image, samples, seeds)
        return image

    def differentiate(self, adjoint: np.ndarray, samples: list[int], seeds: list[int]) -> dict[str, np.ndarray]:
        """Gradients of sum(adjoint * image) by each of LEAVES, with adjoint [height, width, 4]."""
        gradients = {name: np.empty_like(self._arrays[name]) for name in LEAVES}
        self._scene.differentiate(adjoint, gradients, samples, seeds)
        return gradients
