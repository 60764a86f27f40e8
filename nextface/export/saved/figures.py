"""What metrics.json says of a run, checked once: whoever shows its figures finds each as what it should be, or
not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nextface.errors import ResultError
from nextface.export.saved.json_object import AGAIN, read_json_object

FIGURES = "metrics.json"
MOST_BYTES = 16 << 20  # those of 10,000 photos take 3 MB

Check = Callable[[Any], bool]


def read_figures(path: Path) -> dict[str, Any]:
    """The entries of a metrics.json; none where there is no such file: the run was stopped before it wrote one.

    Entries that this version does not know stay as they are.

    Raises
    ------
    ResultError: if it is damaged, or an entry is not what a run writes there.
    """
    if not path.exists():
        return {}
    figures = read_json_object(path, MOST_BYTES)
    for name, (fits, what) in _ENTRIES.items():
        if name in figures and not fits(figures[name]):
            raise ResultError(f"{path} is damaged: {name} is not {what}. {AGAIN}")
    return figures


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list_of(fits: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_table_of(fits: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


def _is_photo(value: Any) -> bool:
    """Whether it is the name of a photo and its figures, as far as they are told."""
    return isinstance(value, Mapping) and all(
        _is_text(entry) if name == "photo" else _is_number_or_none(entry) for name, entry in value.items()
    )


_NUMBER = (_is_number_or_none, "a number")
_SECONDS = (_is_table_of(_is_number), "a number for each part of the run")
_BY_STAGE = (_is_table_of(_is_number_or_none), "a number for each stage")
_TEXT = (_is_text, "text")
_ENTRIES: Mapping[str, tuple[Check, str]] = {
    "psnr": _NUMBER,
    "psnrOval": _NUMBER,
    "psnrStage2": _NUMBER,
    "maskShareOfOval": _NUMBER,
    "uncertaintyMedian": _NUMBER,
    "seconds": _NUMBER,
    "peakMemoryMB": _NUMBER,
    "seed": _NUMBER,
    "photos": (_is_list_of(_is_photo), "a list of photos with their figures"),
    "secondsByPart": _SECONDS,
    "cpuSecondsByPart": _SECONDS,
    "iterations": _BY_STAGE,
    "losses": _BY_STAGE,
    "lossCurves": (_is_table_of(_is_list_of(_is_number)), "a list of numbers for each stage"),
    "warnings": (_is_list_of(_is_text), "a list of texts"),
    "backend": _TEXT,
    "device": _TEXT,
    "maxBounces": _NUMBER,
    "castsShadows": (lambda value: isinstance(value, bool), "true or false"),
    "versions": (_is_table_of(_is_text), "a text for each package"),
}
