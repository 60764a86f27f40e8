"""Paths as people give them, and the place of what this program can make again."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from platformdirs import user_cache_path

from nextface.errors import ConfigError


def given_path(path: str | PathLike[str], what: str) -> Path:
    """A path that somebody typed or passed; `what` names it for the reader of an error.

    An empty text would be the current folder, which nobody means who passes an empty variable.

    Raises
    ------
    ConfigError: if it is empty, or nothing that a path can be.
    """
    text = str(path) if isinstance(path, Path) else path
    if not isinstance(text, str | PathLike):
        raise ConfigError(f"{what} must be a path, as text or pathlib.Path, not {text!r}.")
    if isinstance(text, str) and not text.strip():
        raise ConfigError(f"{what} is empty. Name a file or folder; the current folder is '.'.")
    if "\0" in str(text):
        raise ConfigError(f"{what} holds a zero byte, which no path can.")
    return Path(text)


def given_path_or_none(path: str | PathLike[str] | None, what: str) -> Path | None:
    """`given_path` for what may be left out."""
    return None if path is None else given_path(path, what)


def cache_folder() -> Path:
    """The folder of the user's caches that belongs to this program (it may not exist yet)."""
    return user_cache_path("nextface", appauthor=False)
