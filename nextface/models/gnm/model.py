"""Reads Google's GNM Head 3: https://github.com/google/GNM, whose README and formal definition describe it.

Identity and expression are linear; joints follow identity alone; pose correctives are linear in the entries of
all joints' rotation matrices less the identity; linear blend skinning turns the joints.

The eyes' outer shells are transparent and hide the shells with iris and pupil: their triangles are left out,
and all vertices keep their numbers. The file lays each part (skin, eye, teeth, tongue) out over the same unit
square; here each gets a square of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
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
from nextface.surfaces.uv_layout import Place, placed
from nextface.system.archive import MAX_BYTES, read_arrays

FORMAT = "2"  # of what is kept; raise it when files are read differently
IN_GROUP = 0.5  # weight from which a vertex belongs to a group
# Our regions by the groups that make them, whichever of these the file has.
GROUPS = {
    "eyes": ("eyes", "left_eye", "right_eye"),
    "mouth": ("mouth_sock", "gums"),
    "teeth": ("teeth", "upper_teeth", "lower_teeth"),
    "tongue": ("tongue",),
    "lips": ("upper_lip", "lower_lip"),
    "ears": ("ears", "left_ear", "right_ear"),
    "eye_sockets": ("eye_sockets",),
}
TRANSPARENT = ("eye_exteriors", "eyeball_exterior")  # groups of the eyes' outer shells
# Where the UVs of parts go; what is in none of the groups is skin, which gets most of the map.
SKIN = Place(0.0, 0.25, 0.75)
PLACES = {
    ("left_eye",): Place(0.005, 0.005, 0.24),
    ("right_eye",): Place(0.255, 0.005, 0.24),
    ("teeth", "gums", "upper_teeth_and_gums", "lower_teeth_and_gums", "upper_teeth", "lower_teeth"): Place(
        0.755, 0.505, 0.24
    ),
    ("tongue",): Place(0.755, 0.755, 0.24),
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
    groups = _Groups(stored, count)
    triangles = taken_indices(stored, "triangles", (None, 3), count)
    corners = taken(stored, "triangle_uvs", (len(triangles), 3, 2))
    shown = ~groups.having(TRANSPARENT)[triangles].all(1)
    triangles, corners = triangles[shown], corners[shown]
    turned = outward(mean, triangles)
    if not np.array_equal(turned, triangles):
        corners = corners[:, ::-1]
    uvs, uv_triangles = _layout(corners, turned, groups)
    low, high = mean[turned].min((0, 1)), mean[turned].max((0, 1))
    middle = np.array([0.0, *(low + high)[1:] / 2])  # the file's origin lies below the neck
    arrays = single(
        mean=(mean - middle) * unit,
        identity=identity * unit,
        expression=expression * unit,
        joint_mean=(joints - middle) * unit,
        joint_identity=taken(stored, "joint_identity_basis", (len(identity), many, 3)) * unit,
        weights=taken(stored, "skinning_weights", (many, count)).T,
        correctives=correctives[9:] * unit,  # the root does not turn
        uvs=uvs,
    )
    return arrays | {
        "triangles": np.ascontiguousarray(turned),
        "uv_triangles": uv_triangles,
        "parents": parents,
        "joint_names": _names(stored, "joint_names", many),
        "expression_names": _names(stored, "expression_names", len(expression)),
        **_mirror(stored, count),
        **groups.regions(),
    }


def _layout(
    corners: np.ndarray, triangles: np.ndarray, groups: _Groups
) -> tuple[np.ndarray, NDArray[np.int64]]:
    """UVs [T, 2] and triangles [F, 3] of each part in its place, of the file's UVs [F, 3, 2] at corners."""
    uvs, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    left = np.ones(len(triangles), bool)
    parts = []
    for names, place in PLACES.items():
        inside = groups.having(names)[triangles].all(1) & left
        left &= ~inside
        parts.append((inside, place))
    return placed(uvs, inverse.reshape(-1, 3), [(left, SKIN), *parts])


def _names(stored: Arrays, name: str, count: int) -> np.ndarray:
    """Texts [count], of which none is there twice."""
    found = stored.get(name)
    if found is None or found.dtype.kind != "U" or found.shape != (count,) or len(set(found.tolist())) != count:
        raise WrongFileError(f"has no {count} different names in {name!r}")
    return found


def _mirror(stored: Arrays, count: int) -> Arrays:
    """The mirror map, if it is one of pairs."""
    found = taken_indices(stored, "mirror_indices", (count,), count)
    return {"mirror": found} if np.array_equal(found[found], np.arange(count)) else {}


class _Groups:
    """The file's vertex groups."""

    def __init__(self, stored: Arrays, count: int) -> None:
        weights = taken(stored, "vertex_groups", (None, count))
        names = _names(stored, "vertex_group_names", len(weights)).tolist()
        self.count = count
        self.members = dict(zip(names, weights > IN_GROUP, strict=True))  # name -> [V]

    def having(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """Which vertices [V] are in any of the groups, as far as the file has them."""
        return np.any(
            [np.zeros(self.count, bool), *(self.members[n] for n in names if n in self.members)], axis=0
        )

    def regions(self) -> Arrays:
        """Our regions [R, V] and their names."""
        opaque = ~self.having(TRANSPARENT)
        found = {
            region: self.having(names) & opaque
            for region, names in GROUPS.items()
            if set(names) & set(self.members)
        }
        masks = np.stack(list(found.values())) if found else np.zeros((0, self.count), bool)
        return {"regions": masks, "region_names": np.array(list(found), dtype="U32")}
