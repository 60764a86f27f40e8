"""Spherical harmonics, latitude-longitude maps and lights that cannot be negative.

Directions are unit vectors in the light frame (x right, y up, z towards the photographer) and point to
where light comes from. The real spherical harmonics are orthonormal, with polar axis +z, no
Condon-Shortley sign, and index i = l (l + 1) + m. A map of height H has 2H columns; the texel in row r and
column c lies at theta = pi (r + 0.5) / H from +y and phi = 2 pi (c + 0.5) / (2H), in direction
(sin theta sin phi, cos theta, -sin theta cos phi), so that its centre columns look along +z.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def sh_basis(directions: Tensor, bands: int) -> Tensor:
    """Real spherical harmonics [..., bands^2] at unit directions [..., 3].

    Associated Legendre polynomials by the standard recurrences, divided by sin^m so that the poles are
    regular (Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2013).
    """
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(z)
    cosine, sine = [one], [torch.zeros_like(z)]  # sin^m(theta) times cos(m phi), sin(m phi)
    for _ in range(1, bands):
        cosine.append(x * cosine[-1] - y * sine[-1])
        sine.append(x * sine[-1] + y * cosine[-2])
    values: list[Tensor] = [one] * bands**2
    for m in range(bands):
        previous, current = torch.zeros_like(z), one * math.prod(range(1, 2 * m, 2))
        for degree in range(m, bands):
            scale = _sh_scale(degree, m)
            if m == 0:
                values[degree * (degree + 1)] = scale * current
            else:
                values[degree * (degree + 1) + m] = scale * current * cosine[m]
                values[degree * (degree + 1) - m] = scale * current * sine[m]
            following = ((2 * degree + 1) * z * current - (degree + m) * previous) / (degree - m + 1)
            previous, current = current, following
    return torch.stack(values, -1)


def _sh_scale(degree: int, m: int) -> float:
    ratio = math.factorial(degree - m) / math.factorial(degree + m)
    return math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio * (2 if m else 1))


@lru_cache(maxsize=8)
def map_directions(height: int) -> Tensor:
    """Directions [H, 2H, 3] of a map's texel centres, float64."""
    theta = math.pi * (torch.arange(height, dtype=torch.float64) + 0.5) / height
    phi = math.pi * (torch.arange(2 * height, dtype=torch.float64) + 0.5) / height
    theta, phi = torch.meshgrid(theta, phi, indexing="ij")
    return torch.stack([theta.sin() * phi.sin(), theta.cos(), -theta.sin() * phi.cos()], -1)


@lru_cache(maxsize=8)
def map_solid_angles(height: int) -> Tensor:
    """Exact solid angles [H, 2H] in steradian of a map's texels, float64; they sum to 4 pi."""
    edges = torch.cos(math.pi * torch.arange(height + 1, dtype=torch.float64) / height)
    return ((edges[:-1] - edges[1:]) * math.pi / height)[:, None].expand(height, 2 * height)


@lru_cache(maxsize=8)
def _map_basis(height: int, bands: int) -> Tensor:
    return sh_basis(map_directions(height), bands).flatten(0, 1)


@lru_cache(maxsize=8)
def _map_projection(height: int, bands: int) -> Tensor:
    basis = _map_basis(height, bands)
    weighted = basis * map_solid_angles(height).reshape(-1, 1)
    return torch.linalg.solve(weighted.mT @ basis, weighted.mT)


def evaluate_map(coefficients: Tensor, height: int) -> Tensor:
    """The map [N, H, 2H, C] of spherical harmonics coefficients [N, bands^2, C]."""
    basis = _map_basis(height, math.isqrt(coefficients.shape[1])).to(coefficients)
    return (basis @ coefficients).unflatten(1, (height, 2 * height))


def project_map(radiance: Tensor, bands: int) -> Tensor:
    """Coefficients [N, bands^2, C] of a map [N, H, 2H, C], by least squares weighted with solid angles.

    Inverts `evaluate_map` to rounding for band-limited maps.

    Raises
    ------
    ValueError: if the map has too few rows to tell the bands apart.
    """
    height = radiance.shape[1]
    if height < bands:
        raise ValueError(f"a map of height {height} cannot hold {bands} bands: it needs at least {bands} rows")
    return _map_projection(height, bands).to(radiance) @ radiance.flatten(1, 2)


def cosine_kernel(bands: int) -> Tensor:
    """Zonal factors [bands] that turn radiance into irradiance, float64.

    pi, 2 pi / 3, pi / 4, 0, -pi / 24 ...: the clamped cosine of Ramamoorthi and Hanrahan, "An Efficient
    Representation for Irradiance Environment Maps", SIGGRAPH 2001, equation 8.
    """
    factors = []
    for degree in range(bands):
        if degree == 1:
            factors.append(2 * math.pi / 3)
        elif degree % 2:
            factors.append(0.0)
        else:
            half = degree // 2
            sign = -1.0 if half % 2 == 0 else 1.0
            size = math.comb(degree, half) / 2**degree
            factors.append(2 * math.pi * sign * size / ((degree + 2) * (degree - 1)))
    return torch.tensor(factors, dtype=torch.float64)


def scale_bands(coefficients: Tensor, factors: Tensor) -> Tensor:
    """Coefficients [N, bands^2, C] with band l multiplied by factors[l], a convolution with a zonal kernel."""
    bands = math.isqrt(coefficients.shape[1])
    counts = torch.tensor([2 * degree + 1 for degree in range(bands)], device=factors.device)
    return coefficients * factors[:bands].repeat_interleave(counts).to(coefficients)[:, None]


def with_bands(coefficients: Tensor, bands: int) -> Tensor:
    """Coefficients [N, L, C] cut off after so many bands, or filled up with zeros: [N, bands^2, C]."""
    known = coefficients[:, : bands**2]
    return torch.nn.functional.pad(known, (0, 0, 0, bands**2 - known.shape[1]))


def fibonacci_directions(count: int) -> Tensor:
    """Nearly uniform directions [count, 3] on the sphere, float64."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * index / count
    radius = (1 - y * y).sqrt()
    azimuth = math.pi * (1 + 5**0.5) * index
    return torch.stack([radius * azimuth.sin(), y, -radius * azimuth.cos()], -1)


@lru_cache(maxsize=8)
def positive_kernel(bands: int) -> Tensor:
    """Zonal factors [bands] of a kernel that is nowhere negative and integrates to 1, float64.

    A squared Dirichlet kernel (the sum of the first Legendre terms), which is a polynomial of degree
    2 floor((bands - 1) / 2); for even `bands` it is multiplied by 1 + cos to reach degree bands - 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(bands + 2)
    half = (bands - 1) // 2
    dirichlet = np.polynomial.legendre.legval(nodes, [2 * degree + 1 for degree in range(half + 1)])
    kernel = dirichlet**2 * (1 + nodes if bands % 2 == 0 else 1)
    factors = [
        np.sum(weights * kernel * np.polynomial.legendre.legval(nodes, [0] * degree + [1]))
        for degree in range(bands)
    ]
    return torch.tensor(np.array(factors) / factors[0])


@lru_cache(maxsize=8)
def positive_lobes(bands: int, count: int) -> Tensor:
    """Coefficients [bands^2, count] of `count` non-negative lobes of unit power, spread over the sphere.

    Any light `lobes @ power` with power >= 0 is non-negative everywhere and exactly band-limited: no
    clamping is needed anywhere. float64.
    """
    basis = sh_basis(fibonacci_directions(count), bands)
    return scale_bands(basis.mT[None], positive_kernel(bands))[0]


def sh_rotation(rotation: Tensor, bands: int) -> Tensor:
    """Matrices [..., bands^2, bands^2] that turn a light's coefficients with rotations [..., 3, 3].

    The turned light sends from R d what the light sends from d. A band stays within itself: by least squares,
    exact to rounding, its block takes the harmonics at some directions to those at the directions turned back.
    Differentiable in the rotations.
    """
    directions, inverses = _band_fits(bands)
    turned_back = directions.to(rotation) @ rotation
    basis = sh_basis(turned_back, bands)
    matrix = basis.new_zeros(*rotation.shape[:-2], bands**2, bands**2)
    for degree, inverse in enumerate(inverses):
        band = slice(degree**2, (degree + 1) ** 2)
        matrix[..., band, band] = inverse.to(rotation) @ basis[..., band]
    return matrix


@lru_cache(maxsize=8)
def _band_fits(bands: int) -> tuple[Tensor, list[Tensor]]:
    """Directions [K, 3], and for each band what makes coefficients of values there: [2l + 1, K]; float64."""
    directions = fibonacci_directions(4 * bands**2)
    basis = sh_basis(directions, bands)
    return directions, [torch.linalg.pinv(basis[:, degree**2 : (degree + 1) ** 2]) for degree in range(bands)]


def turned_map(radiance: Tensor, rotation: Tensor) -> Tensor:
    """A map [N, H, 2H, C] turned with rotations [N, 3, 3] by bilinear lookups; differentiable in its values."""
    height = radiance.shape[1]
    x, y, z = (map_directions(height).to(radiance) @ rotation[:, None]).unbind(-1)
    row = torch.arccos(y.clamp(-1, 1)) / math.pi * height - 0.5
    column = torch.atan2(x, -z) / math.pi * height % (2 * height) - 0.5
    values = radiance.movedim(-1, 1)
    values = torch.cat([values[..., -1:], values, values[..., :1]], -1)
    # The map's own columns are 1 to 2H of those with its last one before and its first one behind.
    grid = torch.stack([(2 * column + 3) / (2 * height + 2) - 1, (2 * row + 1) / height - 1], -1)
    return grid_sample(values, grid, padding_mode="border", align_corners=False).movedim(1, -1)


def to_light_frame(directions: Tensor) -> Tensor:
    """Directions [..., 3] from the camera frame (y down, z forward) to the light frame, and back."""
    return directions * directions.new_tensor([1.0, -1.0, -1.0])
