"""Unshadowed shading under a spherical harmonics light: Lambert and GGX lobes as zonal filters.

The reflectance is the project's, f = diffuse / pi + F D G / (4 cos_i cos_o), with GGX D of
alpha = roughness^2, height-correlated Smith G and Schlick's F = F0 + (1 - F0) s.

The diffuse part is exact up to the light's bands: radiance convolved with the clamped cosine (Ramamoorthi and
Hanrahan, "An Efficient Representation for Irradiance Environment Maps", SIGGRAPH 2001).

The specular part is the split sum F0 A + B (Karis, "Real Shading in Unreal Engine 4", 2013), refined: A and B
have one factor for every band instead of one for all, and are taken about the lobe's own mean direction, which
leaves the mirror direction for the normal as the surface gets rough, instead of about the mirror direction.
They are integrated numerically over (n.v, roughness). By the Funk-Hecke theorem this is exact for the part of
the lobe that is symmetric about its mean direction; what is left out is the lobe's lengthening at grazing views.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from nextface.lighting import cosine_kernel, scale_bands, sh_basis

ROUGHNESS_RANGE = (0.1, 1.0)
LEAST_COSINE = 1e-3  # of the angle between normal and view; smaller ones are treated as this one
TABLE_SIZE = 48  # entries along each of n.v and roughness
HALF_VECTORS = 48  # along each of the two dimensions of the integrals


def shade(
    light: Tensor, normals: Tensor, views: Tensor, diffuse: Tensor, specular: Tensor, roughness: Tensor
) -> Tensor:
    """Reflected radiance [P, 3] of P surface points; differentiable in every argument.

    Points seen from behind (n.v < 0) are shaded as if seen edge-on.

    Parameters
    ----------
    light: [bands^2, 3] coefficients of the incoming radiance, in the light frame.
    normals: [P, 3] unit normals in the light frame.
    views: [P, 3] unit directions towards the camera in the light frame.
    diffuse: [P, 3] linear albedo.
    specular: [P, 1] F0.
    roughness: [P, 1] in [0.1, 1].
    """
    return diffuse * diffuse_light(light, normals) + specular_light(light, normals, views, specular, roughness)


def diffuse_light(light: Tensor, normals: Tensor) -> Tensor:
    """Irradiance over pi [P, 3], what a white Lambert surface with normals [P, 3] reflects."""
    bands = math.isqrt(len(light))
    irradiance = scale_bands(light[None], cosine_kernel(bands).to(light.device))[0]
    return sh_basis(normals, bands) @ irradiance / math.pi


def specular_light(light: Tensor, normals: Tensor, views: Tensor, specular: Tensor, roughness: Tensor) -> Tensor:
    """Radiance [P, 3] that the GGX lobe reflects; arguments as in `shade`."""
    bands = math.isqrt(len(light))
    cosine = (normals * views).sum(-1, keepdim=True)
    table = _look_up(_specular_table(bands).to(light), cosine, roughness)
    mirror = 2 * cosine * normals - views
    direction = normalize(table[:, :1] * mirror + table[:, 1:2] * normals, dim=-1)
    factors = specular * table[:, 2 : 2 + bands] + table[:, 2 + bands :]
    degree = torch.arange(bands, device=light.device)
    factors = factors.index_select(1, degree.repeat_interleave(2 * degree + 1))
    return (sh_basis(direction, bands) * factors) @ light


def _look_up(table: Tensor, cosine: Tensor, roughness: Tensor) -> Tensor:
    """Bilinear lookups [P, C] in a table [C, TABLE_SIZE, TABLE_SIZE] at n.v [P, 1] and roughness [P, 1]."""
    low, high = ROUGHNESS_RANGE
    across = 2 * cosine.clamp(LEAST_COSINE, 1).sqrt() - 1
    down = 2 * (roughness - low) / (high - low) - 1
    grid = torch.stack([across, down], -1).view(1, 1, -1, 2)
    found = grid_sample(table[None], grid, padding_mode="border", align_corners=True)
    return found[0, :, 0].T


@lru_cache(maxsize=4)
def _specular_table(bands: int) -> Tensor:
    """The GGX lobe's mean direction and zonal factors, [2 + 2 bands, TABLE_SIZE, TABLE_SIZE], float64.

    Rows run over roughness, columns over sqrt(n.v). The first two entries place the mean direction at
    entry 0 x mirror direction + entry 1 x normal. Then come the factors of every band for F = 1 - s (to be
    multiplied by F0), then for F = s, with Schlick's s = (1 - v.h)^5.

    Half vectors are a regular grid through the visible normals' inverse distribution (Dupuy and Benyoub,
    "Sampling Visible GGX Normals with Spherical Caps", 2023); half of them suffices, by symmetry.
    """
    roughness = torch.linspace(*ROUGHNESS_RANGE, TABLE_SIZE, dtype=torch.float64)
    cosine = torch.linspace(0, 1, TABLE_SIZE, dtype=torch.float64) ** 2
    # The mean direction's share of the mirror direction has a limit at n.v = 1, but is 0 / 0 there.
    cosine = cosine.clamp(LEAST_COSINE, 1 - 1e-6)[:, None]
    steps = (torch.arange(HALF_VECTORS, dtype=torch.float64) + 0.5) / HALF_VECTORS
    azimuth, height = (part.reshape(1, -1) for part in torch.meshgrid(math.pi * steps, steps, indexing="ij"))
    return torch.stack([_table_row(float(r) ** 2, cosine, azimuth, height, bands) for r in roughness], 1)


def _table_row(alpha: float, cosine: Tensor, azimuth: Tensor, height: Tensor, bands: int) -> Tensor:
    """Table entries [2 + 2 bands, V] of one alpha for n.v [V, 1], from half vectors at [1, S] places."""
    sine = (1 - cosine**2).sqrt()
    stretched = torch.sqrt((alpha * sine) ** 2 + cosine**2)
    view_x, view_z = alpha * sine / stretched, cosine / stretched
    cap_z = (1 - height) * (1 + view_z) - view_z
    cap_sine = (1 - cap_z**2).clamp(min=0).sqrt()
    half = torch.stack(
        [alpha * (cap_sine * azimuth.cos() + view_x), alpha * cap_sine * azimuth.sin(), cap_z + view_z], -1
    )
    half = normalize(half, dim=-1)
    view = torch.stack([sine, torch.zeros_like(sine), cosine], -1)
    along = (half * view).sum(-1)
    incoming = 2 * along[..., None] * half - view
    outgoing_lambda, incoming_lambda = _smith_lambda(cosine, alpha), _smith_lambda(incoming[..., 2], alpha)
    weight = (1 + outgoing_lambda) / (1 + outgoing_lambda + incoming_lambda) / along.shape[1]
    weight = torch.where(incoming[..., 2] > 0, weight, 0)
    schlick = (1 - along).clamp(0, 1) ** 5

    skin = 0.04 + 0.96 * schlick
    mean = normalize((incoming * (weight * skin)[..., None]).sum(1), dim=-1)
    mirror_share = -mean[:, 0] / sine[:, 0]
    normal_share = mean[:, 2] - mirror_share * cosine[:, 0]

    tilt = incoming[..., 0] * mean[:, :1] + incoming[..., 2] * mean[:, 2:]
    plain, grazing = [], []
    previous, legendre = torch.zeros_like(tilt), torch.ones_like(tilt)
    for degree in range(bands):
        plain.append((legendre * weight * (1 - schlick)).sum(1))
        grazing.append((legendre * weight * schlick).sum(1))
        following = ((2 * degree + 1) * tilt * legendre - degree * previous) / (degree + 1)
        previous, legendre = legendre, following
    return torch.stack([mirror_share, normal_share, *plain, *grazing])


def _smith_lambda(cosine: Tensor, alpha: float) -> Tensor:
    """Smith's auxiliary function of GGX at angles with the given cosine to the normal."""
    squared = (cosine**2).clamp(min=1e-12)
    return ((1 + alpha**2 * (1 - squared) / squared).sqrt() - 1) / 2
