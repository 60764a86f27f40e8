"""Reads Google's GNM Head 3: https://github.com/google/GNM, whose README and formal definition describe it.

Identity and expression are linear; joints follow identity alone; pose correctives are linear in the entries of
all joints' rotation matrices less the identity; linear blend skinning turns the joints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nextface.model_files.cache import Arrays
from nextface.model_files.limits import WrongFileError
from nextface.model_files.reading import converted, single, taken, taken_indices
from nextface.model_files.wanted import found_or_advice
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.gnm.files import FILES, NAME
from nextface.models.linear_shape import LinearShape
from nextface.models.skinned_head import SkinnedHead
from nextface.surfaces.orientation import millimetres, outward
from nextface.surfaces.uv_layout import into_unit_square
from nextface.system.archive import MAX_BYTES, read_arrays

FORMAT = "1"  # of what is kept; raise it when files are read differently
IN_GROUP = 0.5  # weight from which a vertex belongs to a group
# Our regions by the groups that make them, whichever of these the file has.
GROUPS = {
    "eyes": ("eyes", "left_eye", "right_eye", "eyeballs", "left_eyeball", "right_eyeball"),
    "mouth": ("mouth_sock", "gums"),
    "teeth": ("teeth", "upper_teeth", "lower_teeth", "upper_teeth_and_gums", "lower_teeth_and_gums"),
    "tongue": ("tongue",),
    "lips": ("lips", "upper_lip", "lower_lip"),
    "ears": ("ears", "left_ear", "right_ear"),
    "eye_sockets": ("eye_sockets", "left_eye_socket", "right_eye_socket"),
}


def load_gnm(folder: str) -> SkinnedHead:
    """The model from a user's folder, on the CPU.

    Raises
    ------
    MissingPartError: it is not there.
    ModelError: what is there is not it.
    """
    (path,) = found_or_advice(NAME, folder, [FILES])
    arrays = converted(NAME, FILES, [path], FORMAT, MAX_BYTES, lambda: _read(path))
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items() if values.dtype.kind != "U"}
    moods = tuple(arrays["expression_names"].tolist())
    return SkinnedHead(
        name=NAME,
        shape=LinearShape(tensors["mean"], tensors["identity"], tensors["expression"]),
        joint_mean=tensors["joint_mean"],
        joint_identity=tensors["joint_identity"],
        joint_expression=torch.zeros(len(moods), *tensors["joint_mean"].shape),
        parents=tuple(arrays["parents"].tolist()),
        weights=tensors["weights"],
        correctives=tensors["correctives"],
        joint_names=tuple(arrays["joint_names"].tolist()),
        component_names=moods,
        component_prior=ExpressionPrior.components(len(moods)),
        triangles=tensors["triangles"],
        uvs=tensors["uvs"],
        uv_triangles=tensors["uv_triangles"],
        mirror=tensors.get("mirror"),
        regions=_regions(tensors, arrays["region_names"].tolist()),
    )


def _regions(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    return {name: tensors["regions"][number] for number, name in enumerate(names)}


def _read(path: Path) -> Arrays:
    """What is used of the file, in mm.

    Raises
    ------
    WrongFileError, ArchiveError: what is wrong with it.
    """
    stored = read_arrays(path)
    mean = taken(stored, "template_vertex_positions", (None, 3))
    unit, count = millimetres(mean), len(mean)
    identity = taken(stored, "vertex_identity_basis", (None, count, 3))
    expression = taken(stored, "expression_basis", (None, count, 3))
    joints = taken(stored, "template_joint_positions", (None, 3))
    many = len(joints)
    correctives = taken(stored, "pose_correctives_regressor", (9 * many, 3 * count)).reshape(9 * many, count, 3)
    parents = taken(stored, "joint_parent_indices", (many,)).astype(np.int64)
    parents[0] = -1  # the root is its own parent there
    if not all(-1 <= parent < joint for joint, parent in enumerate(parents)):
        raise WrongFileError("has a tree of joints (joint_parent_indices) that is none")
    triangles = taken_indices(stored, "triangles", (None, 3), count)
    corners = taken(stored, "triangle_uvs", (len(triangles), 3, 2))
    turned = outward(mean, triangles)
    if not np.array_equal(turned, triangles):
        corners = corners[:, ::-1]
    uvs, uv_triangles = np.unique(corners.reshape(-1, 2).astype(np.float32), axis=0, return_inverse=True)
    arrays = single(
        mean=mean * unit,
        identity=identity * unit,
        expression=expression * unit,
        joint_mean=joints * unit,
        joint_identity=taken(stored, "joint_identity_basis", (len(identity), many, 3)) * unit,
        weights=taken(stored, "skinning_weights", (many, count)).T,
        correctives=correctives[9:] * unit,  # the root does not turn
        uvs=into_unit_square(torch.from_numpy(uvs)).numpy(),
    )
    return arrays | {
        "triangles": np.ascontiguousarray(turned),
        "uv_triangles": uv_triangles.reshape(-1, 3).astype(np.int64),
        "parents": parents,
        "joint_names": _names(stored, "joint_names", many),
        "expression_names": _names(stored, "expression_names", len(expression)),
        **_mirror(stored, mean * unit),
        **_groups(stored, count),
    }


def _names(stored: Arrays, name: str, count: int) -> np.ndarray:
    """Texts [count], of which none is there twice."""
    found = stored.get(name)
    if found is None or found.dtype.kind != "U" or found.shape != (count,) or len(set(found.tolist())) != count:
        raise WrongFileError(f"has no {count} different names in {name!r}")
    return found


def _mirror(stored: Arrays, mean: np.ndarray) -> Arrays:
    """The mirror map, if it is one of pairs."""
    found = taken_indices(stored, "mirror_indices", (len(mean),), len(mean))
    return {"mirror": found} if np.array_equal(found[found], np.arange(len(found))) else {}


def _groups(stored: Arrays, count: int) -> Arrays:
    """Regions [R, V] by the file's vertex groups."""
    weights = taken(stored, "vertex_groups", (None, count))
    names = _names(stored, "vertex_group_names", len(weights)).tolist()
    found = {
        region: np.any([weights[names.index(group)] > IN_GROUP for group in groups if group in names], axis=0)
        for region, groups in GROUPS.items()
        if set(groups) & set(names)
    }
    masks = np.stack(list(found.values())) if found else np.zeros((0, count), bool)
    return {"regions": masks, "region_names": np.array(list(found), dtype="U32")}
