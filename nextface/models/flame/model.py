"""Reads FLAME: Li, Bolkart, Black, Li, Romero, "Learning a model of facial shape and expression from 4D scans",
2017. Its files are of https://flame.is.tue.mpg.de.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextface.model_files.cache import Arrays
from nextface.model_files.limits import WrongFileError
from nextface.model_files.pickles import LARGEST_FILE, read_pickle
from nextface.model_files.reading import converted, single, taken, taken_indices
from nextface.model_files.texture_space import at_vertices, first_uvs, linear_statistics
from nextface.model_files.wanted import found_or_advice
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.flame.files import ALBEDO, FILES, NAME, TEXTURE
from nextface.models.linear_shape import LinearShape
from nextface.models.skinned_head import SkinnedHead
from nextface.models.vertex_albedo import PLAIN_SPECULAR, VertexAlbedo
from nextface.system.archive import read_arrays

FORMAT = "1"  # of what is kept; raise it when files are read differently
MILLIMETRES = 1000.0  # of FLAME's unit
VERTICES = 5023
IDENTITIES = 300  # of the shape directions; the others are expressions
JOINTS = ("root", "neck", "jaw", "left eye", "right eye")
LARGEST_TEXTURE = 2 << 30  # bytes; FLAME's texture space takes 1.3 GB
FOLLOWS = 0.5  # of an eye joint's motion: what does belongs to the eyeball


def load_flame(folder: str) -> SkinnedHead:
    """The model from a user's folder, on the CPU.

    Raises
    ------
    MissingPartError: it is not there, or a package that reads it.
    ModelError: what is there is not it.
    """
    (path,) = found_or_advice(NAME, folder, [FILES])
    arrays = converted(NAME, FILES, [path], FORMAT, LARGEST_FILE, lambda: _read_shape(path))
    return _built(arrays, _skin(folder, arrays["triangles"]))


def _skin(folder: str, triangles: np.ndarray) -> Arrays:
    """Statistics of albedo and the UVs that came with them; nothing where the user has none of them."""
    albedo, texture = ALBEDO.find(folder), TEXTURE.find(folder)
    if albedo is not None:
        return converted(
            NAME, ALBEDO, [albedo], FORMAT, LARGEST_TEXTURE, lambda: _read_albedo(albedo, triangles)
        )
    if texture is not None:
        return converted(
            NAME, TEXTURE, [texture], FORMAT, LARGEST_TEXTURE, lambda: _read_texture(texture, triangles)
        )
    return {}


def _built(arrays: Arrays, skin: Arrays) -> SkinnedHead:
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    moods = [f"expression {number}" for number in range(len(arrays["expression"]))]
    eyes = tensors["weights"][:, [JOINTS.index("left eye"), JOINTS.index("right eye")]].sum(1) > FOLLOWS
    albedo = None
    if skin:
        albedo = VertexAlbedo(torch.from_numpy(skin["diffuse"]), torch.from_numpy(skin["specular"]))
    return SkinnedHead(
        name=NAME,
        shape=LinearShape(tensors["mean"], tensors["identity"], tensors["expression"]),
        joint_mean=tensors["joint_mean"],
        joint_identity=tensors["joint_identity"],
        joint_expression=tensors["joint_expression"],
        parents=tuple(arrays["parents"].tolist()),
        weights=tensors["weights"],
        correctives=tensors["correctives"],
        joint_names=JOINTS,
        component_names=tuple(moods),
        component_prior=ExpressionPrior.components(len(moods)),
        triangles=tensors["triangles"],
        uvs=torch.from_numpy(skin["uvs"]) if skin else None,
        uv_triangles=torch.from_numpy(skin["uv_triangles"]) if skin else None,
        regions={"eyes": eyes},
        albedo=albedo,
    )


def _read_shape(path: Path) -> Arrays:
    """What is used of the model file, in mm.

    Raises
    ------
    WrongFileError, ArchiveError: what is wrong with it.
    """
    stored = _stored(path)
    regressor = taken(stored, "J_regressor", (len(JOINTS), VERTICES))
    mean = taken(stored, "v_template", (VERTICES, 3)) * MILLIMETRES
    modes = taken(stored, "shapedirs", (VERTICES, 3, None)).transpose(2, 0, 1) * MILLIMETRES
    if len(modes) <= IDENTITIES:
        raise WrongFileError(f"has {len(modes)} shape directions; the first {IDENTITIES} are identities")
    features = 9 * (len(JOINTS) - 1)
    correctives = taken(stored, "posedirs", (VERTICES, 3, features)).transpose(2, 0, 1) * MILLIMETRES
    triangles = taken_indices(stored, "f", (None, 3), VERTICES)
    parents = taken(stored, "kintree_table", (2, len(JOINTS)))[0].astype(np.int64)
    parents[0] = -1  # stored as an unsigned -1
    if not all(-1 <= parent < joint for joint, parent in enumerate(parents)):
        raise WrongFileError("has a tree of joints (kintree_table) that is none")
    joints = np.einsum("jv,kva->kja", regressor, np.concatenate([mean[None], modes]))
    arrays = single(
        mean=mean,
        identity=modes[:IDENTITIES],
        expression=modes[IDENTITIES:],
        joint_mean=joints[0],
        joint_identity=joints[1 : 1 + IDENTITIES],
        joint_expression=joints[1 + IDENTITIES :],
        weights=taken(stored, "weights", (VERTICES, len(JOINTS))),
        correctives=correctives,
    )
    return arrays | {"triangles": triangles, "parents": parents}


def _stored(path: Path) -> dict[str, Any]:
    """Every array of the file, whichever form it has."""
    if path.suffix == ".pkl":
        return read_pickle(path)
    if path.suffix == ".npz":
        return read_arrays(path)
    from nextface.model_files.safetensors_file import read_safetensors

    return read_safetensors(path)


def _layout(stored: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray]:
    """UVs [T, 2] and triangles [F, 3] into them, of as many triangles as the model has."""
    uvs = taken(stored, "vt", (None, 2)).astype(np.float32)
    uv_triangles = taken_indices(stored, "ft", (count, 3), len(uvs))
    return uvs, uv_triangles


def _read_albedo(path: Path, triangles: np.ndarray) -> Arrays:
    """AlbedoMM's linear statistics at the vertices: Smith et al., "A morphable face albedo model", 2020."""
    stored = read_arrays(path, LARGEST_TEXTURE)
    uvs, uv_triangles = _layout(stored, len(triangles))
    places = first_uvs(uvs, uv_triangles, triangles, VERTICES)
    diffuse, specular = (
        np.concatenate([sampled(stored, mean, places)[None], _components(stored, basis, places)])
        for sampled, mean, basis in ((_mean, "MU", "PC"), (_mean, "specMU", "specPC"))
    )
    return {"diffuse": diffuse, "specular": specular[..., :1], "uvs": uvs, "uv_triangles": uv_triangles}


def _read_texture(path: Path, triangles: np.ndarray) -> Arrays:
    """FLAME's texture space at the vertices: photographed colours, blue first, sRGB from 0 to 255."""
    stored = read_arrays(path, LARGEST_TEXTURE)
    uvs, uv_triangles = _layout(stored, len(triangles))
    places = first_uvs(uvs, uv_triangles, triangles, VERTICES)
    mean, components = _mean(stored, "mean", places), _components(stored, "tex_dir", places)
    mean, components = linear_statistics(mean[:, ::-1] / 255, components[..., ::-1] / 255)
    return {
        "diffuse": np.concatenate([mean[None], components]),
        "specular": np.full((1, VERTICES, 1), PLAIN_SPECULAR, np.float32),
        "uvs": uvs,
        "uv_triangles": uv_triangles,
    }


def _mean(stored: dict[str, Any], name: str, places: np.ndarray) -> np.ndarray:
    """[V, 3]"""
    return at_vertices(taken(stored, name, (None, None, 3)).astype(np.float32), places)


def _components(stored: dict[str, Any], name: str, places: np.ndarray) -> np.ndarray:
    """[A, V, 3] of a basis [H, W, 3, A]."""
    if name not in stored or stored[name].ndim != 4 or stored[name].shape[2] != 3:
        raise WrongFileError(f"holds no basis {name!r} of shape height x width x 3 x components")
    basis = stored[name]
    if basis.dtype.kind not in "iuf" or not np.isfinite(basis).all():
        raise WrongFileError(f"has a basis {name!r} that does not hold finite numbers alone")
    return np.stack([at_vertices(basis[..., number], places) for number in range(basis.shape[3])])
