"""Landmarks given by the user in a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nextface.errors import ConfigError
from nextface.landmarks.points import Landmarks, outline_box
from nextface.landmarks.topology import TOPOLOGIES

MAX_BYTES = 1_000_000


def read_landmarks(path: Path | str) -> Landmarks:
    """The landmarks in a file like `{"detector": "mediapipe", "points": [[x, y], ...]}`.

    Points are upright photo pixels, as many as the named detector finds (478 or 68) and in its order.
    They may lie outside the photo, as a cut-off chin does.

    Raises
    ------
    ConfigError: the file is missing, too large, not JSON, or does not hold such points.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _wrong(path, f"is larger than {MAX_BYTES // 1000} kB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is not JSON ({error})") from None
    if not isinstance(content, dict) or "points" not in content:
        raise _wrong(path, 'has no "points"')
    topology = TOPOLOGIES.get(content["detector"]) if isinstance(content.get("detector"), str) else None
    if topology is None:
        raise _wrong(path, f'must name its "detector": one of {", ".join(TOPOLOGIES)}')
    points = _points(path, content["points"])
    if len(points) != topology.count:
        raise _wrong(path, f"has {len(points)} points; {content['detector']} has {topology.count}")
    landmarks = Landmarks(content["detector"], points)
    x0, y0, x1, y1 = outline_box(landmarks)
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise _wrong(path, "has all its points in one place")
    return landmarks


def _points(path: Path, rows: object) -> np.ndarray:
    """The points [P, 2] float64, every one a pair of finite numbers."""
    if not isinstance(rows, list):
        raise _wrong(path, 'has "points" that are not a list')
    for index, row in enumerate(rows):
        is_pair = isinstance(row, list) and len(row) == 2
        if not is_pair or not all(isinstance(value, int | float) and abs(value) < 1e6 for value in row):
            raise _wrong(path, f"has a point {index} that is not a pair of pixel positions")
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"The landmarks file {path} {what}. It must look like "
        '{"detector": "mediapipe", "points": [[x, y], ...]}, in pixels of the upright photo.'
    )
