"""The backend that shades vertices: a preview that works everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renderers.registry import Backend
from renderers.settings import Settings

if TYPE_CHECKING:
    from renderers.vertex.renderer import VertexRenderer


def _create(settings: Settings) -> VertexRenderer:
    from renderers.vertex.renderer import VertexRenderer

    return VertexRenderer()


def _examine() -> str:
    _create(Settings())
    return "Preview without ray tracing and without shadows."


BACKEND = Backend(
    name="vertex",
    help="fast preview without shadows",
    create=_create,
    check=lambda: None,
    examinations={"vertex": _examine},
    hint=lambda: "Install this package again: it needs no other part.",
    draws_with_torch=True,
)
