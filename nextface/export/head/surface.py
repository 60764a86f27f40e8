"""The maps in the reflectance of other programs.

Ours is diffuse / pi + F D G / (4 cos_i cos_o) with Schlick's F from F0 (docs/conventions.md). The lobes of the
targets are the same GGX; what differs is what F takes from the diffuse lobe, and how F0 is said.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import torch

from nextface.export.folder import map_material
from nextface.person.reconstruction import Reconstruction
from nextface.scene import Material
from nextface.scene.baking import resample_map
from nextface.scene.reflectance import DIFFUSE_RANGE, SPECULAR_RANGE

BAKED = 512  # texels a side of maps that are made of vertex values
INDEX_OF_REFRACTION = (1 + math.sqrt(SPECULAR_RANGE[1])) / (1 - math.sqrt(SPECULAR_RANGE[1]))
"""1.789: of a smooth dielectric with the highest F0 of our range, of which maps are shares."""


def _mean_grazing(nodes: int = 64) -> float:
    """The mean of (1 - v.h)^5 over directions v and l of one hemisphere, each weighted with its cosine.

    Gauss-Legendre quadrature over the squared sines, in which the weights are uniform, and the angle between.
    """
    x, weight = np.polynomial.legendre.leggauss(nodes)
    x, weight = (x + 1) / 2, weight / 2
    sine = np.sqrt(x)
    cosine = np.sqrt(1 - x)
    azimuth = math.pi * (np.arange(nodes) + 0.5) / nodes
    between = cosine[:, None, None] * cosine[None, :, None] + sine[:, None, None] * sine[
        None, :, None
    ] * np.cos(azimuth)
    half = np.sqrt((1 + np.clip(between, -1, 1)) / 2)  # v.h is the cosine of half the angle between v and l
    return float(np.einsum("a,b,abc->", weight, weight, (1 - half) ** 5) / nodes)


MEAN_GRAZING = _mean_grazing()  # 0.0037


def under_fresnel(material: Material) -> Material:
    """The material for a target that draws (1 - F) diffuse / pi: diffuse albedo over the mean of 1 - F.

    The mean is over all directions of light and view, so that a face under even light is as bright as ours;
    what is left is that 1 - F falls towards the rim. Albedo above 1 is cut off, which skin does not reach.
    """
    kept = (1 - material.specular) * (1 - MEAN_GRAZING)
    return replace(material, diffuse=(material.diffuse / kept).clamp(*DIFFUSE_RANGE))


@torch.no_grad()
def exported_maps(reconstruction: Reconstruction, resolution: int | None = None) -> Material | None:
    """The person's maps [1, R, R, C] on the CPU; None for a model without UVs.

    Outside the charts they go on with the values at the charts' borders, at any size.

    Parameters
    ----------
    resolution: R; None: the fitted maps' own, or BAKED where there are only vertex values.
    """
    maps = map_material(reconstruction, resolution or BAKED)
    if maps is None or resolution in (None, maps.diffuse.shape[1]):
        return maps
    return Material(*(resample_map(getattr(maps, item.name), resolution) for item in fields(maps)))
