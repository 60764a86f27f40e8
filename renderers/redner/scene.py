"""From a scene of ours to redner's arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from nextface.scene import Camera, Scene
from nextface.scene.corners import same_topology, topology

LUMINANCE = (0.212671, 0.715160, 0.072169)  # redner's weights, by which it weighs the directions it samples
BLACK = 1e-8  # of the brightest texel
FINE_ROWS = 192  # at which redner's error in drawing directions is below a tenth of a degree


@dataclass(frozen=True, eq=False)
class BufferLayout:
    """What of a scene stays while values change: triangles, and where on its maps each of their corners is.

    redner looks all reflectance up in maps. Ours get a border of one texel, which repeats the edge, because
    redner would wrap around there. Vertex values become a map with a tile of 2 x 2 texels for each triangle:
    a, b in the upper row and c, b + c - a in the lower. Bilinear interpolation between these four is the linear
    one over the triangle.
    """

    source: tuple[Tensor | None, ...]  # the tensors that this was made from
    map_size: tuple[int, int] | None  # rows and columns of the scene's maps; None for vertex values
    columns: int  # of tiles, for vertex values
    triangles: np.ndarray  # [F, 3] int32
    uvs: np.ndarray  # [T, 2] float32, v down
    uv_triangles: np.ndarray  # [F, 3] int32

    @classmethod
    def of(cls, scene: Scene) -> BufferLayout:
        """The layout of a scene, whose maps have the right sizes."""
        mesh, material = scene.mesh, scene.material
        source = topology(mesh, material.is_mapped)
        triangles = _integers(mesh.triangles)
        if material.is_mapped:
            assert mesh.uvs is not None and mesh.uv_triangles is not None
            height, width = material.diffuse.shape[1:3]
            uvs = mesh.uvs.detach().cpu().double().numpy()
            texels = np.stack([uvs[:, 0] * width, (1 - uvs[:, 1]) * height], -1) + 1
            uvs = (texels / (width + 2, height + 2)).astype(np.float32)
            return cls(source, (height, width), 0, triangles, uvs, _integers(mesh.uv_triangles))
        count = len(triangles)
        columns = math.ceil(math.sqrt(count))
        rows = -(-count // columns)
        tiles = np.stack([np.arange(count) % columns, np.arange(count) // columns], -1)
        centres = np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]])
        uvs = (2 * tiles[:, None] + centres).reshape(-1, 2) / (2 * columns, 2 * rows)
        numbers = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
        return cls(source, None, columns, triangles, uvs.astype(np.float32), numbers)

    def fits(self, scene: Scene) -> bool:
        """Whether a scene has this layout."""
        mapped = scene.material.is_mapped
        if (tuple(scene.material.diffuse.shape[1:3]) if mapped else None) != self.map_size:
            return False
        return same_topology(self.source, topology(scene.mesh, mapped))

    def to_map(self, values: Tensor) -> Tensor:
        """redner's map [H', W', C] of vertex values [V, C] or of a map [H, W, C]; differentiable."""
        if self.map_size is not None:
            return pad(values.movedim(-1, 0)[None], (1, 1, 1, 1), mode="replicate")[0].movedim(0, -1)
        corners = values[torch.from_numpy(self.triangles).to(values.device, torch.int64)]  # [F, 3, C]
        a, b, c = corners.unbind(1)
        tiles = torch.stack([a, b, c, b + c - a], 1)
        tiles = pad(tiles, (0, 0, 0, 0, 0, -len(tiles) % self.columns))
        tiles = tiles.reshape(-1, self.columns, 2, 2, values.shape[-1])
        return tiles.transpose(1, 2).reshape(-1, 2 * self.columns, values.shape[-1])


def leaves(scene: Scene, layout: BufferLayout) -> dict[str, Tensor]:
    """What gradients reach, of a scene of one photo: see `renderers.redner.worker.LEAVES`; differentiable.

    redner's lobe is a Blinn-Phong one of exponent 2 / r - 2, as high as GGX where r = alpha^2 = roughness^4.
    """
    mesh, material, camera = scene.mesh, scene.material, scene.camera
    projection = _screen(camera) @ camera.intrinsics[0]
    return {
        "positions": camera.transform(mesh.vertices)[0],
        "normals": camera.rotate(mesh.normals)[0],
        "diffuse": layout.to_map(material.diffuse[0]),
        "specular": layout.to_map(material.specular[0].expand(*material.specular.shape[1:-1], 3)),
        "roughness": layout.to_map(material.roughness[0] ** 4),
        "environments": halves(scene.environment.radiance[0]),
        "projection": projection,
        "rays": torch.linalg.inv(projection),
    }


def halves(environment: Tensor) -> Tensor:
    """The light [H, 2H, 3] from the camera's side of the head and from behind: [2, H', 2H', 3]; differentiable.

    redner draws directions from a map of light, and computes the density with which it did so rightly only
    where x > 0 in the frame of the map. So it is drawn in two halves, each turned to where redner is right; see
    `frames`. Each fills the left half of its map, and nothing may be in the columns and rows at its border, so
    the light of these columns moves by one texel, and that of the poles is left out, 0.02 % of the sphere.
    Texels are small, because redner draws directions 0.16 texels off on average, in both coordinates.
    """
    factor = enlargement(environment.shape[0])
    fine = pad(environment.movedim(-1, 0)[None], (1, 1, 0, 0), mode="circular")
    fine = pad(fine, (0, 0, 1, 1), mode="replicate")
    fine = interpolate(fine, scale_factor=factor, mode="bilinear", align_corners=False)
    fine = fine[0, :, factor:-factor, factor:-factor].movedim(0, -1)
    height = fine.shape[0]
    parts = fine.roll(-_first_column(height), 1).reshape(height, 2, height, 3).transpose(0, 1)
    inner = parts[:, 1:-1, 2:-2]
    left = parts[:, 1:-1, :1] + parts[:, 1:-1, 1:2]
    right = parts[:, 1:-1, -2:-1] + parts[:, 1:-1, -1:]
    return pad(torch.cat([left, inner, right], 2), (0, 0, 1, 1 + height, 1, 1))


def enlargement(height: int) -> int:
    """By which odd factor the rows of a map of light are divided: odd, so that interpolation stays the same."""
    return max(1, 2 * (FINE_ROWS // height // 2) + 1)


def frames(height: int) -> np.ndarray:
    """[2, 4, 4] rotations from the camera frame to those of `halves` of `height` rows."""
    result = np.zeros((2, 4, 4), np.float32)
    for number in range(2):
        turn = 2 * np.pi * _first_column(height) / (2 * height) + number * np.pi
        cosine, sine = np.cos(turn), np.sin(turn)
        from_light = np.array([[cosine, 0, sine, 0], [0, 1, 0, 0], [-sine, 0, cosine, 0], [0, 0, 0, 1]])
        result[number] = from_light @ np.diag([1, -1, -1, 1])
    return result


def sampling_tables(environments: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[float], list[bool]]:
    """With which probability redner draws which texel of environments [2, H, 2H, 3].

    Returns
    -------
    The probability of all rows above each row, [2, H]; that of all texels to the left of each texel in its row,
    [2, H, 2H]; the density in solid angle where luminance is 1; and whether no texel is black. The last two are
    given for each environment.
    """
    luminance = np.maximum(environments.astype(np.float64) @ LUMINANCE, 0)
    height, width = luminance.shape[1:]
    inner = luminance[:, 1:-1, 1 : height - 1]  # what `halves` fills
    lit = inner.min((1, 2)) > BLACK * inner.max((1, 2))
    for half in luminance:
        if not np.isfinite(half.sum()) or half.sum() == 0:
            half[...] = 1
    columns = luminance.cumsum(2)
    weights = columns[:, :, -1] * np.sin(np.pi * (np.arange(height) + 0.5) / height)
    rows = weights.cumsum(1)
    total = rows[:, -1:]
    before = (columns - luminance) / np.maximum(columns[:, :, -1:], 1e-300)
    densities = height * width / (2 * np.pi**2 * total[:, 0])
    return (
        ((rows - weights) / total).astype(np.float32),
        before.astype(np.float32),
        densities.tolist(),
        lit.tolist(),
    )


def _first_column(height: int) -> int:
    """The column of a map of light of `height` rows with which the half in front begins."""
    return height // 2


def _screen(camera: Camera) -> Tensor:
    """[3, 3], from pixels to redner's screen: x from -1 to 1, y as long a unit and upwards, 0 in the middle."""
    half = camera.width / 2
    rows = [[1 / half, 0, -1], [0, -1 / half, camera.height / camera.width], [0, 0, 1]]
    return camera.intrinsics.new_tensor(rows)


def _integers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().to(torch.int32).contiguous().numpy()
