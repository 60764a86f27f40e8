"""Where this program keeps what it can make again."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """The folder of the user's caches that belongs to this program (it may not exist yet)."""
    return user_cache_path("nextface", appauthor=False)
