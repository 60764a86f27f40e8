"""The colour of the skin: diffuse albedo, pixel by pixel and as a skin tone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from skimage.color import rgb2lab

from benchmarks.scoring.errors import best_gain
from nextface.scene import Scene
from nextface.scene.baking import sample_map
from nextface.scene.colour import linear_to_srgb
from nextface.scene.raster import interpolate, rasterize_scene

DARKEST = 1e-3  # albedo below which a hue would be noise


@dataclass(frozen=True)
class AlbedoScore:
    """Diffuse albedo against the truth, over the same pixels."""

    error: float  # root mean square error after one gain, over the truth's mean
    flat: float  # the same of the best single colour
    hue: float  # root mean square error of log R/G, without gain
    flat_hue: float  # the same of the best single hue
    gain: float  # that was given to the reconstruction
    tone: float  # degrees, individual typology angle, without gain
    true_tone: float  # degrees
    pixels: int


@torch.no_grad()
def seen_albedo(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Linear diffuse albedo [h, w, 3] and coverage [h, w] (bool) at the centres of a camera's pixels."""
    fragments = rasterize_scene(scene)
    mesh, diffuse = scene.mesh, scene.material.diffuse
    if scene.material.is_mapped:
        assert mesh.uvs is not None and mesh.uv_triangles is not None
        seen = sample_map(diffuse, interpolate(fragments, mesh.uv_triangles, mesh.uvs))[0]
    else:
        seen = interpolate(fragments, mesh.triangles, diffuse[0])
    return seen.double().numpy(), fragments.covered.numpy()


def score_albedo(found: np.ndarray, true: np.ndarray) -> AlbedoScore:
    """Albedo [P, 3] against the truth's at the same P pixels."""
    true = true.astype(float)
    gain, level = best_gain(found, true), float(true.mean())
    hue, true_hue = (np.log(colour[:, 0] / colour[:, 1]) for colour in (np.maximum(found, DARKEST), true))
    return AlbedoScore(
        error=_root_mean_square(gain * found - true) / level,
        flat=_root_mean_square(true.mean(0) - true) / level,
        hue=_root_mean_square(hue - true_hue),
        flat_hue=_root_mean_square(true_hue.mean() - true_hue),
        gain=gain,
        tone=typology_angle(found.mean(0)),
        true_tone=typology_angle(true.mean(0)),
        pixels=len(true),
    )


def typology_angle(albedo: np.ndarray) -> float:
    """Individual typology angle in degrees of a linear colour [3]: large for light skin, negative for dark.

    atan((L* - 50) / b*) in CIELAB under D65 (Chardon, Cretois and Hourseau, "Skin colour typology and
    suntanning pathways", 1991), continued for b* that are not positive.
    """
    lightness, _, yellow = rgb2lab(linear_to_srgb(np.clip(albedo, 0, 1)))
    return math.degrees(math.atan2(lightness - 50, yellow))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))
