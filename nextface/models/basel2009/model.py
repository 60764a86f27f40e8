"""Reads the Basel Face Model of 2009: Paysan et al., "A 3D face model for pose and illumination invariant face
recognition", 2009; and the expressions of Guo et al., "CNN-based real-time dense face reconstruction", 2018.

MATLAB counts vertices from 1 and keeps coordinates in micrometres, colours from 0 to 255.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch

from nextface.model_files.cache import Arrays
from nextface.model_files.limits import WrongFileError, check_size, check_values
from nextface.model_files.matlab import LARGEST_FILE, read_mat
from nextface.model_files.reading import converted, single, taken, taken_indices
from nextface.model_files.texture_space import linear_statistics
from nextface.model_files.wanted import found_or_advice
from nextface.models.basel2009.files import DEVIATIONS, EXPRESSION, NAME, REGION, SHAPE
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.linear_head import LinearHead
from nextface.models.vertex_albedo import PLAIN_SPECULAR, VertexAlbedo
from nextface.surfaces.orientation import outward

FORMAT = "1"  # of what is kept; raise it when files are read differently
MICROMETRES = 1000.0  # in a mm
STATISTICS = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
MOST_EXPRESSIONS = 1000
TYPICAL = 0.5  # mm, root mean square of an expression whose standard deviation nobody tells
INDEX = "trimIndex"  # the region's index in its file


def load_basel2009(folder: str) -> LinearHead:
    """The model from a user's folder, on the CPU.

    Raises
    ------
    MissingPartError: a file is not there.
    ModelError: what is there is not it.
    """
    shape, expression, region = found_or_advice(NAME, folder, [SHAPE, EXPRESSION, REGION])
    arrays = converted(NAME, SHAPE, [shape], FORMAT, LARGEST_FILE, lambda: _read_shape(shape))
    count, deviations = len(arrays["mean"]), DEVIATIONS.find(folder)
    files = [expression, region, *([deviations] if deviations else [])]
    moved = converted(
        NAME,
        EXPRESSION,
        files,
        f"{FORMAT} {count}",
        LARGEST_FILE,
        lambda: _read_expression(expression, region, deviations, count),
    )
    chosen, moods = moved["chosen"], len(moved["expression"])
    return LinearHead(
        mean=torch.from_numpy(arrays["mean"][chosen]),
        identity_basis=torch.from_numpy(arrays["identity"][:, chosen]),
        expression_basis=torch.from_numpy(moved["expression"]),
        name=NAME,
        expression_names=tuple(f"expression {number}" for number in range(moods)),
        expression_prior=ExpressionPrior.components(moods),
        triangles=torch.from_numpy(_among(arrays["triangles"], chosen, count)),
        albedo=VertexAlbedo(
            torch.from_numpy(arrays["diffuse"][:, chosen]), torch.full((1, len(chosen), 1), PLAIN_SPECULAR)
        ),
    )


def _among(triangles: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """The triangles whose corners all are among chosen vertices, numbered as these."""
    number = np.full(count, -1)
    number[chosen] = np.arange(len(chosen))
    renumbered = number[triangles]
    return renumbered[(renumbered >= 0).all(1)]


def _read_shape(path: Path) -> Arrays:
    """Mean and modes in mm, linear albedo.

    Raises
    ------
    WrongFileError: what is wrong with the file.
    """
    stored = read_mat(path, STATISTICS)
    mean, identity = _statistics(stored, "shape")
    colour, colours = _statistics(stored, "tex")
    if len(colour) != len(mean):
        raise WrongFileError(f"has colours of {len(colour):,} vertices on a face of {len(mean):,}")
    triangles = taken_indices(stored, "tl", (None, 3), len(mean) + 1) - 1  # MATLAB counts from 1
    if triangles.min() < 0:
        raise WrongFileError("has triangles ('tl') that are not counted from 1")
    linear, components = linear_statistics(colour / 255, colours / 255)
    arrays = single(
        mean=mean / MICROMETRES,
        identity=identity / MICROMETRES,
        diffuse=np.concatenate([linear[None], components]),
    )
    return arrays | {"triangles": np.ascontiguousarray(outward(mean, triangles))}


def _statistics(stored: Arrays, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V, 3] and basis [K, V, 3] of one standard deviation each."""
    mean = taken(stored, f"{part}MU", (None, 1))[:, 0]
    deviation = taken(stored, f"{part}EV", (None, 1))[:, 0]
    basis = taken(stored, f"{part}PC", (len(mean), len(deviation)))
    if len(mean) % 3:
        raise WrongFileError(f"has {part}MU of {len(mean)} values, which are no points")
    return mean.reshape(-1, 3), (basis * deviation).T.reshape(len(deviation), -1, 3)


def _read_expression(path: Path, region: Path, deviations: Path | None, count: int) -> Arrays:
    """Expressions in mm, and the numbers of the vertices that have them.

    The file holds the number E of expressions (int32), their mean [V, 3] and the basis [E, V, 3] (float32), in
    micrometres. The mean is that of moving faces; a neutral one has none of it.

    Raises
    ------
    WrongFileError: what is wrong with the files.
    """
    check_size(path, LARGEST_FILE)
    data = path.read_bytes()
    many = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else 0
    values = (len(data) - 4) // 4
    if not 0 < many <= MOST_EXPRESSIONS or len(data) != 4 + 4 * values or values % (3 * (1 + many)):
        raise WrongFileError("is not a number of expressions, a mean and that many shapes")
    vertices = values // (3 * (1 + many))
    check_values(vertices, count, "the mesh of its expressions")
    basis = np.frombuffer(data, "<f4", offset=4).reshape(1 + many, vertices, 3)[1:] / MICROMETRES
    if not np.isfinite(basis).all():
        raise WrongFileError("has values that are not finite")
    chosen = np.arange(count) if vertices == count else _region(region, vertices, count)
    spread = _deviations(deviations, many) if deviations else TYPICAL / np.sqrt((basis**2).sum(-1).mean(1))
    return single(expression=basis * np.asarray(spread)[:, None, None]) | {"chosen": chosen}


def _region(path: Path, vertices: int, count: int) -> np.ndarray:
    """Numbers of the vertices that expressions move, from 0."""
    numbers = read_mat(path, [INDEX])[INDEX].ravel().astype(np.int64) - 1
    if len(numbers) != vertices or numbers.min() < 0 or numbers.max() >= count:
        raise WrongFileError(
            f"has expressions of {vertices:,} vertices, and {path.name} names {len(numbers):,} of {count:,}"
        )
    return numbers


def _deviations(path: Path, many: int) -> np.ndarray:
    try:
        found = np.array(path.read_text(encoding="utf-8").split(), float)
    except (UnicodeDecodeError, ValueError):
        raise WrongFileError(f"comes with {path.name}, which holds no numbers") from None
    if len(found) < many or not (np.isfinite(found) & (found > 0)).all():
        raise WrongFileError(f"comes with {path.name}, which has no {many} numbers above 0")
    return found[:many]
