"""Arrays as text that a page carries within itself: one compressed block, and what lies where in it."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 6  # of compression; more costs seconds and saves little
ALIGNMENT = 8  # bytes: typed arrays of a browser begin at multiples of their items' size
KINDS = {"f4": "Float32Array", "i2": "Int16Array", "i1": "Int8Array", "u4": "Uint32Array", "u2": "Uint16Array"}
KINDS |= {"u1": "Uint8Array"}


@dataclass(frozen=True)
class Packed:
    """Arrays as a page holds them."""

    block: str  # base64 of the gzipped bytes of all arrays, little-endian
    arrays: dict[
        str, dict[str, Any]
    ]  # by name: the browser's type, where it begins (bytes), items, unit of one step


def stepped(
    values: np.ndarray, kind: type[np.signedinteger[Any]], finest: float = float(np.finfo(np.float32).tiny)
) -> tuple[np.ndarray, float]:
    """Values as whole steps of the smallest size that holds them, but none below `finest`; and that size."""
    step = max(float(np.abs(values).max(initial=0.0)) / np.iinfo(kind).max, finest)
    return np.round(values / step).astype(kind), step


def packed(arrays: Mapping[str, np.ndarray], steps: Mapping[str, float]) -> Packed:
    """Pack arrays of the numbers in KINDS.

    Parameters
    ----------
    steps: what one step of an array's numbers means, where it is not 1.
    """
    parts: list[bytes] = []
    told, size = {}, 0
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        told[name] = {
            "type": KINDS[array.dtype.str[1:]],
            "offset": size,
            "length": array.size,
            "step": steps.get(name, 1.0),
        }
        parts.append(content.ljust(-(-len(content) // ALIGNMENT) * ALIGNMENT, b"\0"))
        size += len(parts[-1])
    return Packed(b64encode(gzip.compress(b"".join(parts), LEVEL, mtime=0)).decode("ascii"), told)
