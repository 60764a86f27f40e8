"""A face model as runs need it: by its INI name, completed where its files lack something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

import renderers
from nextface.completion.completing import complete, is_complete
from nextface.landmarks.embedding.views import Draw
from nextface.models import create
from nextface.models.face_model import FaceModel
from nextface.scene import Scene
from renderers.settings import Settings

PLAIN_RENDERER = (
    "vertex"  # needs nothing and draws everywhere alike, so that what is found holds for every renderer
)


@contextmanager
def plain_drawing() -> Iterator[Draw]:
    """Draws scenes without rays or noise."""
    renderer = renderers.create(PLAIN_RENDERER, Settings(device="cpu", threads=1))

    def draw(scene: Scene) -> Tensor:
        return renderer.render(scene, 1, 0)

    try:
        yield draw
    finally:
        renderer.close()


def load_face_model(name: str, device: str, folder: str) -> FaceModel:
    """The face model that the INI key `morphableModel` names, with all that runs can use.

    The first time a model needs something that its files lack takes up to a minute; it is kept.

    Raises
    ------
    MissingPartError: its files, or a package that reads them, are not here.
    ModelError: its files are not what they should be.
    FaceNotFoundError: the landmark detector sees no face in it.
    ConfigError: no model has this name.
    """
    model = create(name, device, folder)
    if is_complete(model):
        return model
    with plain_drawing() as draw:
        return complete(model, draw)
