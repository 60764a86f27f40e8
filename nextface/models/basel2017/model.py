"""Reads the Basel Face Models of 2017 and 2019: Gerig et al., "Morphable face models - an open framework",
2018; and AlbedoMM: Smith et al., "A morphable face albedo model", 2020.

All are HDF5 files of statismo: mean and basis as rows of coordinates, an orthonormal basis and its variances.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nextface.model_files.cache import Arrays
from nextface.model_files.hdf5 import LARGEST_FILE, read_hdf5
from nextface.model_files.limits import WrongFileError
from nextface.model_files.reading import converted, single, taken, taken_indices
from nextface.model_files.wanted import found_or_advice
from nextface.models.basel2017.files import ALBEDO, NAME, SHAPE
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.linear_head import LinearHead
from nextface.models.vertex_albedo import VertexAlbedo
from nextface.surfaces.orientation import outward

FORMAT = "1"  # of what is kept; raise it when files are read differently
STATISTICS = ("mean", "pcaBasis", "pcaVariance")
CELLS = "shape/representer/cells"


def load_basel(folder: str) -> LinearHead:
    """The model from a user's folder, on the CPU.

    Raises
    ------
    MissingPartError: a file is not there, or the package that reads it.
    ModelError: what is there is not it.
    """
    shape, albedo = found_or_advice(NAME, folder, [SHAPE, ALBEDO])
    arrays = converted(NAME, SHAPE, [shape], FORMAT, LARGEST_FILE, lambda: _read_shape(shape))
    count = len(arrays["mean"])
    skin = converted(NAME, ALBEDO, [albedo, shape], FORMAT, LARGEST_FILE, lambda: _read_albedo(albedo, count))
    moods = len(arrays["expression"])
    return LinearHead(
        mean=torch.from_numpy(arrays["mean"]),
        identity_basis=torch.from_numpy(arrays["identity"]),
        expression_basis=torch.from_numpy(arrays["expression"]),
        name=NAME,
        expression_names=tuple(f"expression {number}" for number in range(moods)),
        expression_prior=ExpressionPrior.components(moods),
        triangles=torch.from_numpy(arrays["triangles"]),
        albedo=VertexAlbedo(torch.from_numpy(skin["diffuse"]), torch.from_numpy(skin["specular"])),
    )


def _read_shape(path: Path) -> Arrays:
    """Mean, modes and expressions in mm.

    Raises
    ------
    WrongFileError: what is wrong with the file.
    """
    parts = ("shape", "expression")
    stored = read_hdf5(path, [f"{part}/model/{name}" for part in parts for name in STATISTICS] + [CELLS])
    (mean, identity), (offset, expression) = (_statistics(stored, part, None) for part in parts)
    if len(offset) != len(mean):
        raise WrongFileError(f"has expressions of {len(offset):,} vertices on a face of {len(mean):,}")
    triangles = taken_indices(stored, CELLS, (3, None), len(mean)).T  # stored by columns
    mean = mean + offset
    arrays = single(mean=mean, identity=identity, expression=expression)
    return arrays | {"triangles": np.ascontiguousarray(outward(mean, triangles))}


def _read_albedo(path: Path, count: int) -> Arrays:
    """Linear diffuse albedo and F0 of one set of coefficients.

    Raises
    ------
    WrongFileError: what is wrong with the file.
    """
    parts = ("diffuseAlbedo", "specularAlbedo")
    stored = read_hdf5(path, [f"{part}/model/{name}" for part in parts for name in STATISTICS])
    (diffuse, colours), (specular, shines) = (_statistics(stored, part, count) for part in parts)
    if len(colours) != len(shines):
        raise WrongFileError(f"has {len(colours)} components of diffuse and {len(shines)} of specular albedo")
    return single(
        diffuse=np.concatenate([diffuse[None], colours]),
        specular=np.concatenate([specular[None], shines]).mean(-1, keepdims=True),
    )


def _statistics(stored: Arrays, part: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V, 3] and basis [K, V, 3] of one standard deviation each; `count` is V, where it must be."""
    mean = taken(stored, f"{part}/model/mean", (None if count is None else 3 * count,))
    if len(mean) % 3:
        raise WrongFileError(f"has {part}/model/mean of {len(mean)} values, which are no points")
    variance = taken(stored, f"{part}/model/pcaVariance", (None,))
    basis = taken(stored, f"{part}/model/pcaBasis", (len(mean), len(variance)))
    if (variance < 0).any():
        raise WrongFileError(f"has negative variances in {part}/model/pcaVariance")
    return mean.reshape(-1, 3), (basis * np.sqrt(variance)).T.reshape(len(variance), -1, 3)
