"""The backend that traces rays with Mitsuba 3."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from nextface.system.python import pip_install
from renderers.registry import Backend
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.mitsuba.renderer import MitsubaRenderer


def _create(settings: Settings) -> MitsubaRenderer:
    from renderers.mitsuba.renderer import MitsubaRenderer

    return MitsubaRenderer(
        settings.device, settings.max_bounces, settings.threads, settings.visibility_gradients
    )


def _check() -> None:
    from renderers.mitsuba.renderer import choose_variant

    choose_variant("auto")


def _examine_on_gpu() -> str:
    from renderers.mitsuba.renderer import choose_variant

    choose_variant("cuda")
    return f"Mitsuba {version('mitsuba')}, ray tracing with OptiX."


def _examine_on_cpu() -> str:
    from renderers.mitsuba.llvm import find_llvm

    library = find_llvm()
    return f"Mitsuba {version('mitsuba')}, LLVM {library.version} ({library.path})"


BACKEND = Backend(
    name="mitsuba",
    help="ray tracing",
    create=_create,
    check=_check,
    examinations={"mitsuba on a GPU": _examine_on_gpu, "mitsuba on the CPU": _examine_on_cpu},
    hint=lambda: f"Install it again: {pip_install('--force-reinstall', 'mitsuba>=3.9')}",
)
