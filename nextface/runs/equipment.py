"""What a process loads once, however many photos it reconstructs: face model, detectors and renderer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property

import torch

import renderers
from nextface.completion.completing import load_face_model
from nextface.config import Config
from nextface.errors import MissingPartError
from nextface.landmarks.detection.faces import Detectors
from nextface.models.face_model import FaceModel
from nextface.models.validation import check_model
from nextface.runs.threads import excess_of_threads, renderer_threads, torch_threads
from nextface.system.progress import Progress
from nextface.system.threads import limited_threads
from renderers.renderer import Renderer
from renderers.settings import Settings


class Equipment:
    """A face model, landmark detectors and a renderer; these two start when they are first asked for."""

    def __init__(self, config: Config, model: FaceModel | None = None) -> None:
        """`model`: a face model of your own, in place of the one that the configuration names.

        Raises
        ------
        MissingPartError: when a part of the model or of its device is not here.
        ModelError: when a model of your own contradicts itself, or its files are not what they should be.
        """
        self.config = config
        self.detectors = Detectors()
        self.warnings: tuple[str, ...] = ()  # the renderer's, when it started
        self._until_closed = ExitStack()
        with ExitStack() as until_ready:
            until_ready.enter_context(limited_threads(torch_threads(config)))
            self.device = _tensor_device(config)
            if model:
                check_model(model)
            self.model = (
                model.to(self.device)
                if model
                else load_face_model(config.morphableModel, self.device, config.path)
            )
            self._until_closed = until_ready.pop_all()

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer that the configuration names."""
        config = self.config
        settings = Settings(
            _device(config),
            config.maxBounces,
            renderer_threads(config),
            config.visibilityGradients,
            config.rednerPython,
        )
        return renderers.create(config.renderer, settings)

    def start(self, progress: Progress) -> None:
        """Start the renderer, so that it is known before any work whether it can be; say once what is notable.

        Raises
        ------
        MissingPartError: when a part of it is not here.
        """
        if "renderer" in self.__dict__:
            return
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            _ = self.renderer
        # What a renderer has to say belongs to the run, and into a folder's index.
        self.warnings = tuple(str(one.message) for one in said if issubclass(one.category, UserWarning))
        for warning in self.warnings:
            progress.warn(warning)
        excess = excess_of_threads(self.config)
        if excess is not None:
            progress.note(excess)

    def close(self) -> None:
        """Release renderer and detectors that were started, and give the caller's numbers of threads back."""
        if "renderer" in self.__dict__:
            self.renderer.close()
        self.detectors.close()
        self._until_closed.close()


@contextmanager
def equipped(config: Config, model: FaceModel | None = None) -> Iterator[Equipment]:
    """An equipment that is closed afterwards."""
    equipment = Equipment(config, model)
    try:
        yield equipment
    finally:
        equipment.close()


def _device(config: Config) -> str:
    """What the key `device` says, and the CPU where a run is to repeat: a GPU's sums are not ordered."""
    return "cpu" if config.deterministic else config.device


def _tensor_device(config: Config) -> str:
    """Where tensors live. Mitsuba brings its own CUDA, so a CPU build of PyTorch may serve a GPU renderer."""
    if torch.cuda.is_available() and _device(config) != "cpu":
        return "cuda"
    if config.device == "cuda" and config.draws_with_torch:
        raise MissingPartError(
            f"device = cuda: this PyTorch has no working CUDA, and the {config.renderer} renderer runs on "
            "PyTorch. Install a CUDA build of PyTorch, or use --device cpu."
        )
    return "cpu"
