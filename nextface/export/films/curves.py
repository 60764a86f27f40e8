"""Reading how a face moves: a table of expression values, a row a frame, as ARKit's recorders write it."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from torch import Tensor

from nextface.errors import CurvesError
from nextface.models.face_model import FaceModel

BESIDE = ("timecode", "blendshapecount", "frame", "time")  # columns that are no expressions
OF_THE_POSE = tuple(
    f"{what}{turn}" for what in ("head", "lefteye", "righteye") for turn in ("yaw", "pitch", "roll")
)
MOST_BYTES = 64 << 20
MOST_FRAMES = 36_000  # ten minutes at 60 a second


@dataclass(frozen=True)
class Curves:
    """Expressions of a face model, frame after frame, and what their user should know."""

    expressions: Tensor  # [F, E] coordinates of the model's expression
    notes: tuple[str, ...]


def read_curves(path: Path, model: FaceModel) -> Curves:
    """Read a CSV file whose first line names expressions and whose others hold values from 0 to 1.

    Names are ARKit's, however their letters are cased; expressions without a column stay at rest. 1 stands for
    a coordinate's upper bound. Columns of time are skipped, and those of head and eye angles, with a note.

    Raises
    ------
    CurvesError: if the file is missing, no such table, or names an expression that the model has not.
    """
    header, rows = _table(path)
    names = {name.lower(): number for number, name in enumerate(model.expression_names)}
    columns: dict[int, int] = {}  # of the table -> coordinates of the model
    skipped, unknown = [], []
    for column, written in enumerate(header):
        name = written.strip().lower()
        if name in names and names[name] not in columns.values():
            columns[column] = names[name]
        elif name in OF_THE_POSE:
            skipped.append(written.strip())
        elif name not in BESIDE:
            unknown.append(written.strip())
    if unknown:
        close = get_close_matches(unknown[0].lower(), names, n=1)
        guess = f" Did you mean {model.expression_names[names[close[0]]]}?" if close else ""
        raise CurvesError(
            f"{path}: {', '.join(map(repr, unknown[:5]))} in the first line is no expression of the face model "
            f"'{model.name}', or is there twice.{guess} It has {', '.join(model.expression_names)}."
        )
    if not columns:
        raise CurvesError(f"{path}: the first line names no expression, such as jawOpen.")
    prior = model.expression_prior
    expressions = prior.mean.repeat(len(rows), 1)
    clipped = 0
    for frame, row in enumerate(rows):
        for column, coordinate in columns.items():
            value = _number(row[column] if column < len(row) else "", path, frame + 2, header[column])
            clipped += not 0 <= value <= 1
            reach = prior.high[coordinate] - prior.mean[coordinate]
            expressions[frame, coordinate] = prior.mean[coordinate] + min(max(value, 0.0), 1.0) * reach
    notes = []
    if skipped:
        notes.append(f"{path.name}: head and eyes keep their pose; skipped {', '.join(skipped)}")
    if clipped:
        notes.append(f"{path.name}: {clipped} values below 0 or above 1 are taken for 0 or 1")
    return Curves(expressions, tuple(notes))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The first line and the others, without empty ones."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise CurvesError(f"{path} is larger than {MOST_BYTES >> 20} MB, and no table of expressions.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if any(word.strip() for word in line)]
    except OSError as error:
        raise CurvesError(f"There is no table {path} ({error.strerror}). Check its spelling.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise CurvesError(f"{path} is no CSV file in UTF-8 ({error}).") from None
    if len(lines) < 2:
        raise CurvesError(
            f"{path} has no frames. A line of names comes first, then one of values for each frame."
        )
    if len(lines) > MOST_FRAMES + 1:
        raise CurvesError(f"{path} has more than {MOST_FRAMES} frames. Cut it into parts.")
    return lines[0], lines[1:]


def _number(text: str, path: Path, line: int, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CurvesError(f"{path}, line {line}: {name.strip()} is {text.strip()!r} and not a number.")
    return value
