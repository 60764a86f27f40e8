"""What a renderer is built with; apart from the protocol, so that it is read without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a backend is built with; each takes what concerns it."""

    device: str = "auto"  # where to trace rays: "auto", "cpu" or "cuda"; `vertex` is where tensors are
    max_bounces: int = 1  # surface reflections between light and camera; `vertex` draws direct light only
    threads: int | None = None  # CPU threads of the ray tracer; None for all that this process may use
    visibility_gradients: bool = False  # gradients of moving outlines, in mitsuba of shadows; `vertex` has none
    redner_python: str = "auto"  # the Python 3.8 that redner's environment is made with
