"""Points on the surface under the pixels of an image: several for each pixel, spread evenly over its square."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextface.scene import Mesh, Scene
from nextface.scene.baking import bilinear_weights
from nextface.scene.raster import rasterize_scene

SUBDIVISION = 4  # points along each side of a pixel
POINTS = SUBDIVISION**2


@dataclass(frozen=True)
class PixelPoints:
    """The points that P pixels of one photo (N = 1) see, in the camera frame.

    Only points whose triangle shows its front count. Pixels without any are left out; where some of a pixel's
    points fall beside the surface, the others stand in their place, in turn.
    """

    pixel: Tensor  # [P] int64, row * width + column
    share: Tensor  # [P] how much of the pixel's square shows a front
    coverage: Tensor  # [height, width] how much of every pixel's square shows a surface
    triangle: Tensor  # [P, POINTS] int64
    barycentric: Tensor  # [P, POINTS, 3]
    distinct: Tensor  # [P, POINTS] bool, False for points that stand in the place of others
    positions: Tensor  # [P, POINTS, 3] mm
    normals: Tensor  # [P, POINTS, 3] unit, interpolated between vertices
    faces: Tensor  # [P, POINTS, 3] unit, the triangles' own normals

    @classmethod
    @torch.no_grad()
    def of(cls, scene: Scene, wanted: Tensor) -> PixelPoints:
        """The points of the `wanted` pixels [height, width] (bool) of a scene of one photo."""
        camera, mesh = scene.camera, scene.mesh
        finer = camera.intrinsics * camera.intrinsics.new_tensor([SUBDIVISION, SUBDIVISION, 1])[:, None]
        enlarged = replace(
            camera,
            intrinsics=finer,
            width=camera.width * SUBDIVISION,
            height=camera.height * SUBDIVISION,
        )
        fragments = rasterize_scene(replace(scene, camera=enlarged))
        coverage = _by_pixel(fragments.covered[..., None].float()).mean((1, 2))
        inside = wanted.flatten().nonzero()[:, 0]
        triangle = _by_pixel(fragments.triangle[..., None])[inside, :, 0]
        barycentric = _by_pixel(fragments.barycentric)[inside]

        vertices, normals = camera.transform(mesh.vertices)[0], camera.rotate(mesh.normals)[0]
        corners = vertices[mesh.triangles]
        face = normalize(
            torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=-1
        )
        front = (face * corners[:, 0]).sum(-1) < 0
        shown = (triangle >= 0) & front[triangle]
        count = shown.sum(1)
        seen = count > 0
        shown, count = shown[seen], count[seen, None]
        place = torch.arange(POINTS, device=count.device)
        chosen = (~shown).long().argsort(dim=1, stable=True).gather(1, place % count)
        triangle = triangle[seen].gather(1, chosen)
        barycentric = barycentric[seen].gather(1, chosen[..., None].expand(-1, -1, 3))
        weight, corner = barycentric[..., None], mesh.triangles[triangle]
        return cls(
            inside[seen],
            count[:, 0] / POINTS,
            coverage.view(camera.height, camera.width),
            triangle,
            barycentric,
            place < count,
            (weight * vertices[corner]).sum(2),
            normalize((weight * normals[corner]).sum(2), dim=-1),
            face[triangle],
        )

    def averages(self, scene: Scene) -> WeightedRows:
        """What turns a material's texels or vertex values into each pixel's mean over its points."""
        mesh, material = scene.mesh, scene.material
        if not material.is_mapped:
            return self.vertex_averages(mesh)
        assert mesh.uvs is not None and mesh.uv_triangles is not None
        pixel, triangle, weight = self._each()
        height, width = material.diffuse.shape[1:3]
        uv = (weight[..., None] * mesh.uvs[mesh.uv_triangles[triangle]]).sum(1)
        texel, weight = bilinear_weights(uv, height, width)
        return self._mean_of(pixel, texel, weight, height * width)

    def vertex_averages(self, mesh: Mesh) -> WeightedRows:
        """What turns values of a mesh's vertices into each pixel's mean over its points."""
        pixel, triangle, weight = self._each()
        return self._mean_of(pixel, mesh.triangles[triangle], weight, mesh.vertices.shape[1])

    def _each(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel [Q], triangle [Q] and barycentric weights [Q, 3] of all Q points that are distinct."""
        pixel, point = self.distinct.nonzero().unbind(1)
        return pixel, self.triangle[pixel, point], self.barycentric[pixel, point]

    def _mean_of(self, pixel: Tensor, element: Tensor, weight: Tensor, elements: int) -> WeightedRows:
        """The mean over each pixel's points of so many elements' values, by their weights [Q, K] at each."""
        weight = weight / self.distinct.sum(1)[pixel, None]
        return WeightedRows.of(pixel[:, None].expand_as(element), element, weight, (len(self.pixel), elements))


def _by_pixel(values: Tensor) -> Tensor:
    """Values [height * width, POINTS, C] of an enlarged image [SUBDIVISION * height, ..., C]."""
    blocks = values.unflatten(1, (-1, SUBDIVISION)).unflatten(0, (-1, SUBDIVISION))
    return blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)


class WeightedRows:
    """A sparse matrix whose product with a table of values is differentiable in these."""

    def __init__(self, matrix: Tensor, transposed: Tensor) -> None:
        """A matrix [rows, columns] in CSR form and its transpose: `of` makes both."""
        self._matrix, self._transposed = matrix, transposed

    @classmethod
    def of(cls, row: Tensor, column: Tensor, weight: Tensor, size: tuple[int, int]) -> WeightedRows:
        """Entries of equal shape at `row`, `column`; equal places add up."""
        place = torch.stack([row.flatten(), column.flatten()])
        matrix = torch.sparse_coo_tensor(place, weight.flatten(), size, check_invariants=False).coalesce()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)  # "is in beta state"
            return cls(matrix.to_sparse_csr(), matrix.T.to_sparse_csr())

    def kept(self, keep: Callable[[Tensor], Callable[[], Tensor]]) -> Callable[[], WeightedRows]:
        """What gives the same matrix back, its parts being kept by `keep`."""
        both = [_kept(matrix, keep) for matrix in (self._matrix, self._transposed)]
        return lambda: WeightedRows(*(again() for again in both))

    def __call__(self, values: Tensor) -> Tensor:
        """The products [rows, C] with values [columns, C]."""
        return _Product.apply(values, self._matrix, self._transposed)


def _kept(matrix: Tensor, keep: Callable[[Tensor], Callable[[], Tensor]]) -> Callable[[], Tensor]:
    """What gives a matrix in CSR form back, its parts being kept by `keep`."""
    starts, columns, values = map(keep, (matrix.crow_indices(), matrix.col_indices(), matrix.values()))
    shape = matrix.shape
    return lambda: torch.sparse_csr_tensor(starts(), columns(), values(), shape, check_invariants=False)


class _Product(torch.autograd.Function):
    """A sparse product that keeps its matrix's transpose: torch would build it anew in each backward pass."""

    @staticmethod
    def forward(ctx, values, matrix, transposed):  # type: ignore[no-untyped-def]
        ctx.transposed = transposed
        return matrix @ values

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[no-untyped-def]
        return ctx.transposed @ gradients[0], None, None
