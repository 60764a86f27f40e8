"""Reads ICT-FaceKit's light model from its OBJ files: Li et al., "Learning formation of physically-based face
attributes", 2020; the files are of https://github.com/ICT-VGL/ICT-FaceKit.

The solid parts are used: skin, mouth, eye sockets, gums and tongue, teeth, and the outer shell of the eyeballs.
Up to the right eyeball vertices are numbered as in the files. The inner shells (iris), tears, blends and
lashes, which are transparent or hidden behind what is opaque here, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from nextface.model_files.cache import Arrays
from nextface.model_files.limits import WrongFileError
from nextface.model_files.obj import LARGEST_FILE, ObjMesh, read_obj, read_vertices, triangulated
from nextface.model_files.reading import converted
from nextface.model_files.wanted import found_or_advice
from nextface.models.expression_prior import ExpressionPrior
from nextface.models.ict.files import FILES, NAME
from nextface.models.linear_head import LinearHead
from nextface.surfaces.mirror import mirror_image
from nextface.surfaces.uv_layout import Place, placed

FORMAT = "3"  # of what is kept; raise it when files are read differently
MILLIMETRES = 10.0  # of ICT's unit
AVERAGE = "generic_neutral_mesh.obj"
VERTICES = 26_719
# Parts by the number of the first vertex after each (the ranges are listed in ICT-FaceKit's README).
ENDS = {
    "face": 9_409,
    "head": 11_248,
    "mouth": 13_294,
    "eye_sockets": 14_062,
    "gums": 17_039,
    "teeth": 21_451,
    "left eye": 22_221,
    "left iris": 23_021,
    "right eye": 23_791,
    "right iris": 24_591,
    "transparent": VERTICES,
}
SOLID = ("face", "head", "mouth", "eye_sockets", "gums", "teeth", "left eye", "right eye")
# Where UVs go: from a unit square of the files (a tile, counted along u) to a square of the map by its lower
# left corner and side. The face gets most of the map; what is hardly seen shares the rest. Eyes share a tile.
TILES = {
    0: Place(0.0, 0.25, 0.75),  # face
    1: Place(0.755, 0.755, 0.245),  # head, mouth, eye sockets
    2: Place(0.755, 0.505, 0.245),  # gums, tongue
    3: Place(0.755, 0.255, 0.245),  # teeth
}
EYES = {"left eye": Place(0.005, 0.005, 0.24), "right eye": Place(0.255, 0.005, 0.24)}
REGIONS = {  # of those that the parts tell
    "mouth": ("mouth", "gums", "teeth"),
    "eye_sockets": ("eye_sockets",),
    "teeth": ("teeth",),
    "tongue": ("gums",),  # gums and tongue are one part
    "eyes": ("left eye", "right eye"),
}
UNSEEN = ("PupilDilate_L", "PupilDilate_R")  # they move the inner shell alone
MERGED = {"browInnerUp": ("browInnerUp_L", "browInnerUp_R"), "cheekPuff": ("cheekPuff_L", "cheekPuff_R")}


def load_ict(folder: str) -> LinearHead:
    """The model from a user's folder, on the CPU.

    Raises
    ------
    MissingPartError: it is not there.
    ModelError: what is there is not it.
    """
    (path,) = found_or_advice(NAME, folder, [FILES])
    files = [path, *sorted(path.glob("*.obj"))]
    arrays = converted(NAME, FILES, files, FORMAT, LARGEST_FILE, lambda: _read(path))
    regions = {
        name: torch.from_numpy(np.isin(arrays["part"], [list(ENDS).index(one) for one in parts]))
        for name, parts in REGIONS.items()
    }
    names = tuple(arrays["expression_names"].tolist())
    return LinearHead(
        mean=torch.from_numpy(arrays["mean"]),
        identity_basis=torch.from_numpy(arrays["identity"]),
        expression_basis=torch.from_numpy(arrays["expression"]),
        name=NAME,
        expression_names=names,
        expression_prior=ExpressionPrior.blendshapes(len(names)),
        triangles=torch.from_numpy(arrays["triangles"]),
        uvs=torch.from_numpy(arrays["uvs"]),
        uv_triangles=torch.from_numpy(arrays["uv_triangles"]),
        mirror=torch.from_numpy(arrays["mirror"]) if "mirror" in arrays else None,
        regions=regions,
    )


def _read(path: Path) -> Arrays:
    """What is used of the model's files, in mm.

    Raises
    ------
    WrongFileError: what is wrong with them.
    """
    average, identities, expressions = _from_folder(path)
    if len(average.vertices) != VERTICES:
        raise WrongFileError(f"has a mean face of {len(average.vertices):,} vertices, not {VERTICES:,}")
    if not len(average.uvs):
        raise WrongFileError("has a mean face without texture coordinates")
    part = np.searchsorted(list(ENDS.values()), np.arange(VERTICES), "right")
    solid = np.isin(part, [list(ENDS).index(name) for name in SOLID])
    number = np.cumsum(solid) - 1
    corners = triangulated(average.polygons)
    triangles = average.polygons[corners[:, :1], corners[:, 1:]]
    uv_triangles = average.uv_polygons[corners[:, :1], corners[:, 1:]]
    shown = solid[triangles].all(1)
    triangles, uv_triangles = triangles[shown], uv_triangles[shown]
    uvs, uv_triangles = _packed(average.uvs, uv_triangles, part[triangles[:, 0]])
    mean = average.vertices[solid] * MILLIMETRES
    names, offsets = _arkit(expressions)
    arrays = {
        "mean": mean,
        "identity": np.stack([one[solid] for one in identities]) * MILLIMETRES,
        "expression": np.stack([one[solid] for one in offsets]) * MILLIMETRES,
        "expression_names": np.array(names),
        "triangles": number[triangles],
        "uvs": uvs,
        "uv_triangles": uv_triangles,
        "part": part[solid],
    }
    mirror = mirror_image(mean)
    return arrays if mirror is None else arrays | {"mirror": mirror}


def _from_folder(folder: Path) -> tuple[ObjMesh, list[np.ndarray], dict[str, np.ndarray]]:
    """The mean face, offsets [V, 3] of each identity shape, and of each expression by its name."""
    if not folder.is_dir():
        raise WrongFileError("is no folder")
    if not (folder / AVERAGE).is_file():
        raise WrongFileError(f"has no {AVERAGE}")
    average = read_obj(folder / AVERAGE)
    identities, expressions = [], {}
    for path in sorted(folder.glob("*.obj")):
        if path.name == AVERAGE:
            continue
        try:
            vertices = read_vertices(path)
        except WrongFileError as error:
            raise WrongFileError(f"holds {path.name}, which {error}") from None
        if vertices.shape != average.vertices.shape:
            raise WrongFileError(
                f"holds {path.name} with {len(vertices):,} vertices; the mean face has {VERTICES:,}"
            )
        if re.fullmatch(r"identity\d+", path.stem):
            identities.append(vertices - average.vertices)
        else:
            expressions[path.stem] = vertices - average.vertices
    for found, name in ((identities, "identity000.obj"), (expressions, "jawOpen.obj")):
        if not found:
            raise WrongFileError(f"has no shapes like {name}")
    return average, identities, expressions


def _arkit(expressions: Mapping[str, np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """Names and offsets of the expressions by ARKit's names, which have brows and cheeks in one piece."""
    merged = {name: np.sum([expressions[side] for side in sides], 0) for name, sides in MERGED.items()
              if all(side in expressions for side in sides)}  # fmt: skip
    used = {side for name in merged for side in MERGED[name]} | set(UNSEEN)
    for name, offsets in expressions.items():
        if name not in used:
            merged[re.sub("_L$", "Left", re.sub("_R$", "Right", name))] = offsets
    return sorted(merged), [merged[name] for name in sorted(merged)]


def _packed(uvs: np.ndarray, uv_triangles: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One layout of all tiles: UVs [T, 2] and triangles [F, 3] of those that lie in `part` [F]."""
    tile = np.floor(uvs[uv_triangles].mean(1)[:, 0]).astype(int)
    eyes = {name: part == list(ENDS).index(name) for name in EYES}
    skin = ~np.any(list(eyes.values()), axis=0)
    parts = [(skin & (tile == number), place) for number, place in TILES.items()]
    parts += [(eyes[name], place) for name, place in EYES.items()]
    if not np.any([chosen for chosen, _ in parts], axis=0).all():
        raise WrongFileError("has texture coordinates outside the tiles of its solid parts")
    return placed(uvs, uv_triangles, parts)
