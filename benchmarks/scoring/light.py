"""The light, as balls show it that are put in the head's place: a matt white one and a glossy one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.scoring.errors import relative_error
from nextface.scene.lighting import map_directions, map_solid_angles

ROUGHNESS = 0.3  # of the glossy ball; alpha is its square
ROWS = 64  # of the map over whose texels light is summed
ACROSS = 32  # points across a ball's picture
LEAST_COSINE = 0.2  # of the balls' normals to the view; the rim is left out
POINTS_AT_ONCE = 128


@dataclass(frozen=True)
class LightScore:
    """Pictures of the balls under two lights: root mean square error over the truth's, after one gain."""

    diffuse: float
    glossy: float


def score_light(found: Tensor, true: Tensor) -> LightScore:
    """A reconstructed light [H, 2H, 3] against the true one [H', 2H', 3], both in the light frame."""
    (matt, shiny), (true_matt, true_shiny) = (ball_pictures(with_rows(light, ROWS)) for light in (found, true))
    return LightScore(relative_error(matt, true_matt), relative_error(shiny, true_shiny))


def with_rows(radiance: Tensor, rows: int) -> Tensor:
    """A map [H, 2H, 3] with another number of rows and the same power, [rows, 2 rows, 3].

    Texels are averaged by solid angle where there are more of them, repeated where there are fewer; one of the
    numbers of rows is a multiple of the other.

    Raises
    ------
    ValueError: if it is not.
    """
    height = len(radiance)
    if max(height, rows) % min(height, rows):
        raise ValueError(f"a map of {height} rows cannot be brought to {rows}: neither divides the other")
    if height < rows:
        return radiance.repeat_interleave(rows // height, 0).repeat_interleave(rows // height, 1)
    power = radiance.double() * map_solid_angles(height)[..., None]
    block = height // rows
    summed = power.unflatten(1, (2 * rows, block)).unflatten(0, (rows, block)).sum((1, 3))
    return summed / map_solid_angles(rows)[..., None]


def ball_normals() -> Tensor:
    """The normals [P, 3] (light frame) that a distant camera sees on a ball, evenly over its picture."""
    place = (torch.arange(ACROSS, dtype=torch.float64) + 0.5) / ACROSS * 2 - 1
    y, x = torch.meshgrid(place, place, indexing="ij")
    towards = 1 - x**2 - y**2
    seen = towards > LEAST_COSINE**2
    return torch.stack([x, y, towards.clamp(min=0).sqrt()], -1)[seen]


def ball_pictures(radiance: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Radiance [P, 3] at `ball_normals` of a matt ball of albedo 1, and of a glossy one (GGX, F = 1).

    Light is summed over the texels of a map [H, 2H, 3].
    """
    ways = map_directions(len(radiance)).reshape(-1, 3)
    power = (radiance.double() * map_solid_angles(len(radiance))[..., None]).reshape(-1, 3)
    matt, shiny = [], []
    for normals in ball_normals().split(POINTS_AT_ONCE):
        arriving = (normals @ ways.T).clamp(min=0)
        matt.append(arriving @ power / math.pi)
        shiny.append(_mirrored(normals[:, 2:], arriving, ways) @ power)
    return torch.cat(matt).numpy(), torch.cat(shiny).numpy()


def _mirrored(leaving: Tensor, arriving: Tensor, ways: Tensor) -> Tensor:
    """GGX reflectance times the cosine of arrival [P, D], for a view along z.

    D and the height-correlated G of docs/conventions.md, with F = 1.

    Parameters
    ----------
    leaving: [P, 1] n.v.
    arriving: [P, D] n.l, not negative.
    ways: [D, 3] directions to the light.
    """
    alpha2 = ROUGHNESS**4
    half = (2 + 2 * ways[:, 2]).clamp(min=1e-12).sqrt()  # length of v + l
    cosine = ((leaving + arriving) / half).clamp(max=1)
    density = alpha2 / (math.pi * (1 - (1 - alpha2) * cosine**2) ** 2)
    roots = [(alpha2 + (1 - alpha2) * value**2).sqrt() for value in (leaving, arriving)]
    return arriving * density * 0.5 / (arriving * roots[0] + leaving * roots[1])
