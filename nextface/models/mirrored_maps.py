"""Where texels have their mirror images on the other side of the face, in UV layouts symmetric or not."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nextface.scene import Mesh
from nextface.scene.baking import sample_map, texel_points

SAME = 1e-5  # in u and v: far less than a texel of any map
MIRRORS_KEPT = 2


class TexelMirror:
    """Turns maps of one UV layout into those of the mirrored face."""

    def __init__(self, mesh: Mesh, images: Tensor) -> None:
        """`images` [F, 3, 2]: UV of each triangle corner's mirror image, NaN where a triangle has none."""
        self._mesh = mesh
        self._images = images
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def mirrored(self, values: Tensor, elsewhere: Tensor) -> Tensor:
        """Maps [N, H, H, C] of the mirrored face; those of `elsewhere` at texels without a mirror image."""
        places, known = self._at(values.shape[1])
        return torch.where(known, sample_map(values, places), elsewhere)

    def _at(self, size: int) -> tuple[Tensor, Tensor]:
        """UV [H, H, 2] of every texel's mirror image, and [H, H, 1] which texels have one."""
        if size not in self._places:
            points = texel_points(self._mesh, size)
            places = (points.barycentric[..., None] * self._images[points.triangle]).sum(-2)
            known = places.isfinite().all(-1, keepdim=True)
            self._places[size] = places.nan_to_num(0.5), known
        return self._places[size]


class FlippedMap(TexelMirror):
    """The mirror of a layout that is symmetric about u = 0.5: exact at every size."""

    def __init__(self) -> None:
        """A flip needs no layout."""

    def mirrored(self, values: Tensor, elsewhere: Tensor) -> Tensor:
        """Maps [N, H, H, C] of the mirrored face; every texel has a mirror image."""
        return values.flip(2)


def texel_mirror(mesh: Mesh, mirror: Tensor | None) -> TexelMirror | None:
    """The mirror of a mesh's maps, or None where there is no mirror map of vertices or there are no UVs.

    It depends on the UV layout alone, and is kept for the layouts that were asked for last.

    Parameters
    ----------
    mirror: [V] int64, each vertex's mirror image.
    """
    if mirror is None or mesh.uvs is None or mesh.uv_triangles is None:
        return None
    source = (mesh.triangles, mesh.uvs, mesh.uv_triangles, mirror)
    for known, found in _recent:
        # Identity, not equality: comparing is slow, and holding the tensors keeps their identity from reuse.
        if all(one is other for one, other in zip(source, known, strict=True)):
            return found
    layout = replace(mesh, vertices=mesh.vertices[:0].detach(), normals=mesh.normals[:0].detach())  # of no face
    found = _find(layout, *source)
    _recent.append((source, found))
    del _recent[:-MIRRORS_KEPT]
    return found


_recent: list[tuple[tuple[Tensor, ...], TexelMirror]] = []


def _find(mesh: Mesh, triangles: Tensor, uvs: Tensor, uv_triangles: Tensor, mirror: Tensor) -> TexelMirror:
    corner = _mirrored_corners(triangles, uv_triangles, mirror)
    images = torch.where((corner < 0)[..., None], torch.nan, uvs[corner])
    gap = (images - (uvs * uvs.new_tensor([-1.0, 1]) + uvs.new_tensor([1.0, 0]))[uv_triangles]).abs()
    known = (corner >= 0).all(1)
    if known.any() and float(gap[known].max()) < SAME:
        return FlippedMap()
    return TexelMirror(mesh, images)


def _mirrored_corners(triangles: Tensor, uv_triangles: Tensor, mirror: Tensor) -> Tensor:
    """The UV coordinate [F, 3] of each corner's mirror image, -1 where it cannot be told.

    The triangle of the mirrored vertices says it, also on seams. Where the edges run otherwise on the other
    side, there is none: then vertices do that have one UV coordinate.
    """
    wanted = mirror[triangles]
    codes, order = _code(triangles, len(mirror)).sort()
    sought = _code(wanted, len(mirror))
    place = torch.searchsorted(codes, sought).clamp(max=len(codes) - 1)
    partner, there = order[place], codes[place] == sought
    corner = (triangles[partner][:, None] == wanted[:, :, None]).int().argmax(2)
    return torch.where(
        there[:, None],
        uv_triangles[partner].gather(1, corner),
        _only(triangles, uv_triangles, len(mirror))[wanted],
    )


def _code(triangles: Tensor, count: int) -> Tensor:
    """A number [F] for each set of three of `count` vertices."""
    low, middle, high = triangles.sort(1).values.unbind(1)
    return (low * count + middle) * count + high


def _only(triangles: Tensor, uv_triangles: Tensor, count: int) -> Tensor:
    """The UV coordinate [V] of each of `count` vertices that has but one, else -1."""
    uvs = int(uv_triangles.max()) + 1
    pairs = torch.unique(triangles * uvs + uv_triangles)
    vertex, uv = torch.div(pairs, uvs, rounding_mode="floor"), pairs % uvs
    uses = torch.bincount(vertex, minlength=count)
    only = torch.full_like(uses, -1)
    only[vertex] = uv
    return torch.where(uses == 1, only, -1)
