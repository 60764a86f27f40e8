"""Where a reconstruction is refined, and how the parts that no photo shows are completed afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nextface.baking import bake_vertices, texel_points
from nextface.fitting.domains import Domain, TexelDomain, VertexDomain
from nextface.fitting.visibility import shares, spread, vertex_visibility
from nextface.reconstruction import Reconstruction
from nextface.reflectance import RANGES, from_latent, to_latent
from nextface.scene import Material

UNFILLED_REGIONS = ("eyes", "mouth")  # never taken from skin around them


def refinement_space(
    reconstruction: Reconstruction, resolution: int, on_vertices: bool
) -> tuple[Material, Domain]:
    """The material [1, ...] to start from and the domain to refine it in.

    Texels where the model has UVs and the renderer resolves maps, else vertices.
    """
    model = reconstruction.model
    if on_vertices or model.uvs is None:
        base = reconstruction.model_material()
        domain = VertexDomain(reconstruction.vertices()[0], model.triangles, model.mirror)
        return Material(base.diffuse[:1], base.specular[:1], base.roughness[:1]), domain
    mesh = reconstruction.scene().mesh
    base = reconstruction.model_material()
    baked = {kind: bake_vertices(getattr(base, kind)[:1], mesh, resolution) for kind in RANGES}
    return Material(**baked), TexelDomain(texel_points(mesh, resolution).covered, model.mirror is not None)


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
    visible = torch.stack(
        [vertex_visibility(reconstruction.scene(photo), mask) for photo, mask in enumerate(masks)]
    ).amax(0)[None]
    mesh = reconstruction.scene().mesh
    fillable = torch.ones_like(visible)
    for name in UNFILLED_REGIONS:
        if name in model.regions:
            fillable[:, model.regions[name]] = 0
    if model.uvs is None:
        return reconstruction
    if not refined.is_mapped:
        refined, base = (
            Material(**{kind: bake_vertices(getattr(m, kind), mesh, resolution) for kind in RANGES})
            for m in (refined, base)
        )
    visible, fillable = (bake_vertices(values, mesh, resolution) for values in (visible, fillable))
    confidence = shares(visible, visible.flip(2) if model.mirror is not None else None, fillable)
    filled = {}
    for kind in RANGES:
        start = to_latent(getattr(base, kind), kind)
        correction = to_latent(getattr(refined, kind), kind) - start
        around = spread(correction, confidence.seen**4) * fillable  # the border of what is seen is seen worst
        mixed = (
            confidence.seen * correction
            + confidence.mirrored * correction.flip(2)
            + confidence.statistical * around
        )
        filled[kind] = from_latent(start + mixed, kind)
    return replace(reconstruction, material=Material(**filled), confidence=confidence.stacked())
