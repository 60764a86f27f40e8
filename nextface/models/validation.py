"""What is wrong with a face model, in words for who makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import torch
from torch import Tensor

from nextface.errors import ModelError
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.scene.raster import rasterize

DETECTORS = ("mediapipe", "fan")
SMALLEST, LARGEST = 80.0, 2000.0  # mm, of a head's height
BENT = 1e-2  # mm, by which a model that calls itself linear may depart from it: rounding
TOO_FAR_MIRRORED = 10.0  # mm, median
LAYOUT_SIZE = 256  # texels a side, at which charts are looked at
MOST_OVERLAP = 1e-3  # of what charts cover: folds that are too small to be seen


def check_model(model: FaceModel, of_files: bool = False) -> None:
    """Refuse a face model that contradicts itself.

    Parameters
    ----------
    of_files: as of `problems`.

    Raises
    ------
    ModelError: names everything that is wrong.
    """
    wrong = problems(model, of_files)
    if wrong:
        raise ModelError(f"The face model {model.name} cannot be used:\n- " + "\n- ".join(wrong))


@torch.no_grad()
def problems(model: FaceModel, of_files: bool = False) -> list[str]:
    """What is wrong with a model, empty where nothing is: shapes, types, indices, values, topology, priors.

    Parameters
    ----------
    of_files: whether it is as its owners' files bring it, which nobody here can change. Then charts that
        overlap count as none, and a surface that is no manifold, which costs some normals, is let pass.
    """
    wrong = list(_prior(model))
    if wrong:
        return wrong  # without coordinates there is no face to look at
    identity = torch.zeros(2, model.identity_size, device=model.triangles.device)
    rest = model.expression_prior.mean[None].repeat(2, 1)
    vertices = model.vertices(identity, rest)
    if vertices.dim() != 3 or vertices.shape[0] != 2 or vertices.shape[2] != 3:
        return [f"vertices() of two faces gives {tuple(vertices.shape)}, not (2, V, 3)"]
    mean = vertices[0]
    wrong += _triangles("triangles", model.triangles, len(mean), "vertices")
    if wrong:
        return wrong
    wrong += _shape(model, mean)
    wrong += _surface(model.triangles, mean, of_files)
    wrong += _uvs(model, of_files)
    wrong += _mirror(model, mean)
    for name, region in model.regions.items():
        if region.dtype != torch.bool or region.shape != (len(mean),):
            wrong.append(f"region {name} is {_described(region)}, not bool [{len(mean)}]")
    wrong += _reflectance(model, len(mean))
    for detector in DETECTORS:
        embedding = model.landmarks(detector)
        if embedding is not None:
            wrong += _embedding(model, embedding)
    return wrong


def _prior(model: FaceModel) -> Iterator[str]:
    prior, count = model.expression_prior, len(model.expression_names)
    if len(set(model.expression_names)) < count:
        yield "two coordinates of expression_names have one name"
    for item in fields(prior):
        values = getattr(prior, item.name)
        if values.shape != (count,) or not values.is_floating_point():
            yield f"expression_prior.{item.name} is {_described(values)}, not float [{count}]"
            return
        if not values.isfinite().all():
            yield f"expression_prior.{item.name} is not finite"
            return
    for number, name in enumerate(model.expression_names):
        mean, spread, low, high = (float(getattr(prior, item.name)[number]) for item in fields(prior))
        if not spread > 0:
            yield f"the spread of {name} is {spread:g}; it must be above 0"
        if not low < high or not low <= mean <= high:
            yield f"the bounds of {name} are {low:g} to {high:g} around a mean of {mean:g}"


def _shape(model: FaceModel, mean: Tensor) -> Iterator[str]:
    if not mean.isfinite().all():
        yield "the mean face has vertices that are not finite"
        return
    height = float(mean[:, 1].max() - mean[:, 1].min())
    if not SMALLEST < height < LARGEST:
        yield f"the mean face is {height:.3g} high; vertices are in millimetres, y up"
    prior = model.expression_prior
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(1, model.identity_size, generator=generator).to(mean)
    zero, rest = torch.zeros_like(identity), prior.mean[None]
    moved = torch.minimum(rest + prior.spread, prior.high)
    both, one, other, none = (
        model.vertices(*pair)[0] for pair in ((identity, moved), (identity, rest), (zero, moved), (zero, rest))
    )
    if not both.isfinite().all():
        yield "vertices() is not finite one standard deviation from the mean"
        return
    doubled = model.vertices(2 * identity, rest)[0] - 2 * one + none
    bent = max(float((both - one - other + none).abs().max()), float(doubled.abs().max()))
    if model.linear and bent > BENT:
        yield f"the model calls itself linear but departs from that by {bent:.3g} mm"


def _triangles(name: str, triangles: Tensor, count: int, what: str) -> Iterator[str]:
    if triangles.dtype != torch.int64 or triangles.dim() != 2 or triangles.shape[1] != 3:
        yield f"{name} is {_described(triangles)}, not int64 [F, 3]"
    elif not len(triangles):
        yield f"{name} is empty"
    elif int(triangles.min()) < 0 or int(triangles.max()) >= count:
        yield f"{name} goes from {int(triangles.min())} to {int(triangles.max())}; there are {count} {what}"


def _surface(triangles: Tensor, mean: Tensor, of_files: bool) -> Iterator[str]:
    if not of_files:
        yield from _edges(triangles, len(mean))
    first, second, third = mean[triangles].unbind(1)
    outward = torch.linalg.cross(second - first, third - first) * ((first + second + third) / 3 - mean.mean(0))
    if float(outward.sum()) < 0:
        yield "triangles run clockwise seen from outside; turn them"


def _edges(triangles: Tensor, count: int) -> Iterator[str]:
    """What is wrong with how triangles of `count` vertices hang together."""
    repeated = (triangles == triangles.roll(1, 1)).any(1)
    if repeated.any():
        first_one = int(repeated.int().argmax())
        yield f"{int(repeated.sum())} triangles have a vertex twice, the first is {first_one}"
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    undirected = edges.sort(1).values
    _, uses = (undirected[:, 0] * count + undirected[:, 1]).unique(return_counts=True)
    if (uses > 2).any():
        yield f"{int((uses > 2).sum())} edges belong to more than two triangles: the surface is no manifold"
    _, uses = (edges[:, 0] * count + edges[:, 1]).unique(return_counts=True)
    if (uses > 1).any():
        yield f"{int((uses > 1).sum())} edges run the same way in two triangles: neighbours are flipped"


def _uvs(model: FaceModel, of_files: bool) -> Iterator[str]:
    uvs, triangles = model.uvs, model.uv_triangles
    if uvs is None or triangles is None:
        if uvs is not triangles:
            yield "there must be both uvs and uv_triangles, or neither"
        return
    if uvs.dim() != 2 or uvs.shape[1] != 2 or not uvs.is_floating_point():
        yield f"uvs is {_described(uvs)}, not float [T, 2]"
        return
    if not uvs.isfinite().all():
        yield "uvs are not finite"
    elif float(uvs.min()) < 0 or float(uvs.max()) > 1:
        yield (
            f"uvs go from {float(uvs.min()):.3g} to {float(uvs.max()):.3g}; maps cover 0 to 1 "
            "(`nextface.surfaces.uv_layout.into_unit_square` brings other layouts there)"
        )
    wrong = list(_triangles("uv_triangles", triangles, len(uvs), "uvs"))
    yield from wrong
    if triangles.shape != model.triangles.shape:
        yield f"uv_triangles is {_described(triangles)}, triangles is {_described(model.triangles)}"
    elif not (wrong or of_files) and uvs.isfinite().all():
        overlap = overlap_of_charts(uvs, triangles)
        if overlap > MOST_OVERLAP:
            yield f"UV charts overlap in {overlap:.1%} of what they cover: two places would share their texels"


def overlap_of_charts(uvs: Tensor, triangles: Tensor) -> float:
    """The share of covered texels that two triangles own: numbered the other way round, another one wins."""
    points, depth = uvs * LAYOUT_SIZE, torch.ones_like(uvs[:, 0])
    first = rasterize(points, depth, triangles, LAYOUT_SIZE, LAYOUT_SIZE).triangle
    last = len(triangles) - 1 - rasterize(points, depth, triangles.flip(0), LAYOUT_SIZE, LAYOUT_SIZE).triangle
    covered = first >= 0
    return float((covered & (first != last)).sum() / covered.sum().clamp(min=1))


def _mirror(model: FaceModel, mean: Tensor) -> Iterator[str]:
    mirror = model.mirror
    if mirror is None:
        return
    numbers = torch.arange(len(mean), device=mean.device)
    if mirror.dtype != torch.int64 or mirror.shape != numbers.shape:
        yield f"mirror is {_described(mirror)}, not int64 [{len(mean)}]"
    elif int(mirror.min()) < 0 or int(mirror.max()) >= len(mean) or not torch.equal(mirror[mirror], numbers):
        yield "mirror is no map of pairs: the mirror image of a mirror image must be the vertex itself"
    else:
        gap = float((mean[mirror] * mean.new_tensor([-1.0, 1, 1]) - mean).norm(dim=1).median())
        if gap > TOO_FAR_MIRRORED:
            yield f"mirror pairs vertices that are {gap:.3g} mm from being mirror images in x = 0"


def _reflectance(model: FaceModel, count: int) -> Iterator[str]:
    found = model.reflectance(torch.zeros(2, model.albedo_size, device=model.triangles.device))
    for name, channels, low, high in (
        ("diffuse", 3, 0.0, 1.0),
        ("specular", 1, 0.0, 0.08),
        ("roughness", 1, 0.1, 1.0),
    ):
        values = getattr(found, name)
        if values.shape != (2, count, channels) or not values.is_floating_point():
            yield f"{name} of two faces is {_described(values)}, not float [2, {count}, {channels}]"
        elif not (values >= low - 1e-6).all() or not (values <= high + 1e-6).all():  # NaN is neither
            yield f"{name} leaves {low:g} to {high:g}"


def _embedding(model: FaceModel, embedding: LandmarkEmbedding) -> Iterator[str]:
    where = f"the {embedding.detector} landmarks:"
    count, weights = len(embedding.indices), embedding.barycentric
    lengths = {len(part) for part in (embedding.triangles, weights, embedding.weights, embedding.contour)}
    if lengths != {count}:
        yield f"{where} their parts have {sorted(lengths | {count})} points"
        return
    if count and (int(embedding.triangles.min()) < 0 or int(embedding.triangles.max()) >= len(model.triangles)):
        yield f"{where} a triangle is not there"
    if not torch.allclose(weights.sum(1), torch.ones_like(weights[:, 0]), atol=1e-3):
        yield f"{where} barycentric weights do not sum to 1"
    if not (embedding.weights >= 0).all():
        yield f"{where} a weight is negative or not a number"


def _described(values: Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)}"
