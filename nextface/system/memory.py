"""Telling a want of memory from other errors: each library says it in words of its own."""

from __future__ import annotations

_WORDS = (
    "out of memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
    "insufficient memory",
    "failed to allocate",
)


def is_shortage(error: Exception) -> bool:
    """Whether an error says that memory could not be had, on the CPU or a GPU."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _WORDS)


def first_line(error: Exception) -> str:
    """An error's first line, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
