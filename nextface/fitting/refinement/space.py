"""Where a reconstruction is refined, and how the parts that no photo shows are completed afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nextface.fitting.refinement.domains import COARSEST_LEVEL, Domain, TexelDomain, VertexDomain
from nextface.fitting.refinement.visibility import (
    UNLIKE_SKIN,
    faded,
    grown,
    shares,
    spread,
    vertex_visibility,
    visibility_with_rim,
)
from nextface.models.bases import in_regions
from nextface.models.face_model import FaceModel
from nextface.models.mirrored_maps import texel_mirror
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material, Mesh, Scene
from nextface.scene.baking import bake_vertices, texel_points
from nextface.scene.reflectance import RANGES, from_latent, to_latent

TEXELS_PER_PIXEL = 1.25  # along a side, at the surface's median pixel
LOOSE = 0.05  # how much the regularisers count in `UNLIKE_SKIN`
SURELY_SEEN = 0.75  # visibility, from which on they are taken from a photo
AROUND_HOLES = (*UNLIKE_SKIN, "eyelids", "eye_sockets", "lips", "nose")  # what is hidden in them is no border


@dataclass(frozen=True)
class RefinementSpace:
    """Where corrections of reflectance live."""

    base: Material  # [1, ...] the statistical material in the domain's layout, which they are measured from
    domain: Domain
    skin: Tensor  # [1, ..., 1] in [0, 1], how far each of the domain's elements is skin


def refinement_space(reconstruction: Reconstruction, resolution: int, on_vertices: bool) -> RefinementSpace:
    """The material to start from and the domain to refine it in.

    Texels where the model has UVs and the renderer resolves maps, else vertices. Texels are no finer than the
    photos resolve, whatever the size of the final maps: a finer correction costs more and says nothing more.

    Parameters
    ----------
    resolution: most texels along a side.
    """
    model = reconstruction.model
    if on_vertices or model.uvs is None:
        base = reconstruction.model_material()
        domain = VertexDomain(reconstruction.vertices()[0], model.triangles, model.mirror)
        material = Material(base.diffuse[:1], base.specular[:1], base.roughness[:1])
        return RefinementSpace(material, domain, _outside(UNLIKE_SKIN, model))
    scenes = [reconstruction.scene(photo) for photo in range(len(reconstruction))]
    size = min(_doubling_size(TEXELS_PER_PIXEL * max(map(_pixels_per_map, scenes))), resolution)
    mesh = scenes[0].mesh
    skin = bake_vertices(_outside(UNLIKE_SKIN, model), mesh, size)
    held = LOOSE + (1 - LOOSE) * skin[0, ..., 0]
    texels = TexelDomain(texel_points(mesh, size).covered, texel_mirror(mesh, model.mirror), held)
    return RefinementSpace(_baked(reconstruction.model_material(), mesh, size), texels, skin)


@torch.no_grad()
def _pixels_per_map(scene: Scene) -> float:
    """How many pixels of a photo (N = 1) a map's side would be long, at the surface's median pixel."""
    mesh = scene.mesh
    assert mesh.uvs is not None and mesh.uv_triangles is not None
    on_photo = -_areas(scene.camera.project(mesh.vertices)[0][mesh.triangles])  # negative on the far side
    on_map = _areas(mesh.uvs[mesh.uv_triangles]).abs()
    front = (on_photo > 0) & (on_map > 0)
    pixels, order = (on_photo[front] / on_map[front]).sort()
    share = on_photo[front][order].cumsum(0)
    return math.sqrt(float(pixels[torch.searchsorted(share, share[-1] / 2)]))


def _areas(corners: Tensor) -> Tensor:
    """Signed areas [F] of triangles [F, 3, 2]."""
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return (across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]) / 2


def _doubling_size(texels: float) -> int:
    """The smallest size of at least so many texels that can be halved down to a pyramid's coarsest level."""
    doublings = max(int(math.log2(texels / COARSEST_LEVEL)), 0)
    return math.ceil(texels / 2**doublings) << doublings


def _baked(material: Material, mesh: Mesh, size: int) -> Material:
    return Material(**{kind: bake_vertices(getattr(material, kind)[:1], mesh, size) for kind in RANGES})


def _outside(regions: Sequence[str], model: FaceModel) -> Tensor:
    """1 at the vertices [1, V, 1] of a model that are in none of some regions, else 0."""
    return (~in_regions(model, regions)).float()[None, :, None]


@torch.no_grad()
def complete(
    reconstruction: Reconstruction, base: Material, masks: Sequence[Tensor], resolution: int
) -> Reconstruction:
    """The reconstruction with unseen elements taken from the mirrored or surrounding correction, as maps.

    Parameters
    ----------
    base: the material that refinement started from.
    masks: [h, w] bool of each photo, pixels that were in the loss.
    """
    refined, model = reconstruction.material, reconstruction.model
    assert refined is not None
    scenes = [reconstruction.scene(photo) for photo in range(len(masks))]

    def shown(some: Sequence[Tensor]) -> Tensor:
        """How well the best photo shows each vertex inside these masks: [1, V, 1]."""
        by_photo = [vertex_visibility(scene, mask) for scene, mask in zip(scenes, some, strict=True)]
        return torch.stack(by_photo).amax(0)[None]

    visible, rim = shown(masks), shown([grown(mask) for mask in masks])
    mesh = reconstruction.scene().mesh
    fillable, fades = (_outside(names, model) for names in (UNLIKE_SKIN, AROUND_HOLES))
    # Across the soft border of a mask of skin, what seems to be seen of eyes and mouth is skin.
    visible, rim = (torch.where((fillable == 0) & (part < SURELY_SEEN), 0, part) for part in (visible, rim))
    if model.uvs is None:
        return reconstruction
    if refined.is_mapped:
        start = _baked(reconstruction.model_material(), mesh, resolution)
    else:
        refined, base = (_baked(material, mesh, resolution) for material in (refined, base))
        start = base
    visible, rim, fillable = (bake_vertices(values, mesh, resolution) for values in (visible, rim, fillable))
    corrections = {}
    for kind in RANGES:
        correction = to_latent(getattr(refined, kind), kind) - to_latent(getattr(base, kind), kind)
        corrections[kind] = _enlarged(correction, resolution)
    weight = (visible * fillable) ** 4  # the border of what is seen is seen worst
    around = {kind: spread(correction, weight) * fillable for kind, correction in corrections.items()}
    seen = visibility_with_rim(visible, rim, corrections["diffuse"], around["diffuse"])
    seen = faded(seen, bake_vertices(fades, mesh, resolution))
    mirror = texel_mirror(mesh, model.mirror)
    nowhere = torch.zeros_like(seen)
    confidence = shares(seen, mirror.mirrored(seen, nowhere) if mirror else None, fillable)
    filled = {}
    for kind, correction in corrections.items():
        mirrored = mirror.mirrored(correction, correction) if mirror else correction
        mixed = (
            confidence.seen * correction
            + confidence.mirrored * mirrored
            + confidence.statistical * around[kind]
        )
        filled[kind] = from_latent(to_latent(getattr(start, kind), kind) + mixed, kind)
    return replace(reconstruction, material=Material(**filled), confidence=confidence.stacked())


def _enlarged(values: Tensor, resolution: int) -> Tensor:
    """A map [1, H, W, C] at the size of at least its own, without creases at its texels."""
    if values.shape[1] == resolution:
        return values
    moved = values.permute(0, 3, 1, 2)
    return interpolate(moved, size=resolution, mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
