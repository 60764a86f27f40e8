"""The backend that traces rays with redner, in an old Python of its own."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

from nextface.errors import MissingPartError, RendererError
from nextface.system.python import command
from renderers.registry import Backend
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.redner.renderer import RednerRenderer


def _hint() -> str:
    return f"Set it up again: {command('setup', 'redner')}"


def _create(settings: Settings) -> RednerRenderer:
    from renderers.redner.renderer import RednerRenderer, find_engine

    if settings.device == "cuda":
        warnings.warn("redner draws on the CPU: its build for GPUs is not used", stacklevel=3)
    engine = find_engine(settings.redner_python, settings.threads)
    try:
        engine.start()
    except RendererError as error:
        engine.close()
        raise MissingPartError(f"renderer = redner: {error}\n{_hint()}") from error
    return RednerRenderer(engine, settings.max_bounces, settings.visibility_gradients)


def _check() -> None:
    from renderers.redner.installation import find_environment

    if find_spec("redner") is None:
        find_environment()


def _examine() -> str:
    from renderers.redner.installation import find_environment
    from renderers.redner.process import RednerProcess
    from renderers.redner.renderer import find_engine, try_out

    engine = find_engine()
    try_out(engine)
    own = isinstance(engine, RednerProcess)
    place = f", in a process of its own with {find_environment().python}." if own else "."
    only = "" if find_spec("embreex") else " Only with lightTransfer = False: the package embreex is not here."
    return f"On the CPU{place}{only}"


BACKEND = Backend(
    name="redner",
    help="ray tracing on the CPU, set up apart",
    create=_create,
    check=_check,
    examinations={"redner": _examine},
    hint=_hint,
)
