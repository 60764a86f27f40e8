"""Backends that draw scenes, each behind the protocol of `renderers.renderer`."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nextface.errors import ConfigError, MissingPartError
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.renderer import Renderer

NAMES = ("vertex", "mitsuba", "redner")


def create(name: str, settings: Settings | None = None) -> Renderer:
    """Build the backend of the INI key `renderer`.

    Parameters
    ----------
    name: one of `NAMES`.
    settings: what to build it with, the defaults where absent.

    Raises
    ------
    ConfigError: for an unknown name.
    MissingPartError: when a part of the backend is not here; the message says how to get it.
    """
    settings = settings or Settings()
    if name == "vertex":
        from renderers.vertex import VertexRenderer

        return VertexRenderer()
    if name == "mitsuba":
        from renderers.mitsuba.renderer import MitsubaRenderer

        return MitsubaRenderer(
            settings.device, settings.max_bounces, settings.threads, settings.visibility_gradients
        )
    if name == "redner":
        from renderers.redner.renderer import RednerRenderer, find_engine

        if settings.device == "cuda":
            warnings.warn("redner draws on the CPU: its build for GPUs is not used", stacklevel=2)
        engine = find_engine(settings.redner_python, settings.threads)
        return RednerRenderer(engine, settings.max_bounces, settings.visibility_gradients)
    nearest = get_close_matches(name.lower(), NAMES, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"renderer = {name}: no such backend. Did you mean {nearest}? There are {', '.join(NAMES)}."
    )


def available() -> dict[str, str | None]:
    """Each backend's name, with None where it works here and else the reason why it does not."""
    from renderers.mitsuba import renderer as mitsuba
    from renderers.redner.installation import find_environment

    found: dict[str, str | None] = {"vertex": None, "mitsuba": None, "redner": None}
    try:
        mitsuba.choose_variant("auto")
    except MissingPartError as error:
        found["mitsuba"] = str(error)
    if find_spec("redner") is None:
        try:
            find_environment()
        except MissingPartError as error:
            found["redner"] = str(error)
    return found
