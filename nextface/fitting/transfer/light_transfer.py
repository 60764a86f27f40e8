"""How much of each spherical harmonic of the light a surface sends to the camera, past its own shadows.

With geometry and view fixed, reflected light is linear in the light and in diffuse albedo, and for a given
roughness affine in F0:

    radiance = diffuse (D . light) + F0 (A . light) + B . light

where D belongs to the Lambert lobe, and A and B to the backend's specular lobe weighted with 1 - s and s, s
being Schlick's (1 - v.h)^5. The vectors D, A and B are sums over directions spread evenly over the sphere, each
of which is either hidden or not: precomputed radiance transfer (Sloan, Kautz and Snyder, "Precomputed Radiance
Transfer for Real-Time Rendering in Dynamic, Low-Frequency Lighting Environments", SIGGRAPH 2002). A and B are
smooth in roughness; they are computed at a few values of it and interpolated by a polynomial.

Measured against Mitsuba on a head of 64 pixels under a side light of nine bands, at n.v > 0.05, without noise:
the Lambert lobe alone is off by 0.5 % RMS, skin of roughness 0.5 to 0.8 as a whole by up to 0.9 %. The specular
lobe alone, a tenth of skin's radiance, is off by 6 %, 3 %, 1.7 % and 0.7 % at roughness 0.3, 0.4, 0.5 and 0.8.
Below 0.3 it is drawn as at 0.3: 14 % at 0.2, which only eyes have. Against redner, with its own lobe: skin
of roughness 0.5 is off by 0.3 %, the lobe alone by 6 %, 1.5 % and 1.2 % at 0.3, 0.5 and 0.8.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nextface.scene.lighting import fibonacci_directions, sh_basis, to_light_frame
from nextface.scene.pixel_points import POINTS, PixelPoints
from renderers.renderer import Occlusion
from renderers.specular_lobe import SpecularLobe

DIRECTIONS = 1024  # over the sphere; a pixel's points share them
ROUGHNESS_INTERVAL = (0.3, 1.0)  # smoother surfaces are drawn as if they had its lower end
LEVELS = 5
COSINES = 64  # of angles between normal and view, at which the lobes' known sums are tabulated
OFFSET_MM = 0.1  # by which rays start above the surface, lest rounding puts them below it
PIXELS_AT_ONCE = 1024  # on a CPU: intermediate results stay in a core's cache, and below 50 MB with all rays
MOST_AT_ONCE = 1 << 16  # on a GPU, for which one large chunk is less work than many small ones
PIXEL_MEMORY = (
    128 * DIRECTIONS
)  # bytes of a GPU for each pixel of a chunk: rays, in torch and in Dr.Jit, and lobes


def roughness_levels() -> Tensor:
    """The roughness values [LEVELS] to interpolate between, float64: Chebyshev's nodes in its logarithm."""
    low, high = map(math.log, ROUGHNESS_INTERVAL)
    angle = math.pi * (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    return ((low + high) / 2 - (high - low) / 2 * angle.cos()).exp()


def roughness_weights(roughness: Tensor) -> Tensor:
    """Lagrange's weights [P, LEVELS] of the levels at roughness [P, 1]."""
    levels = roughness_levels().log().tolist()
    place = roughness.clamp(*ROUGHNESS_INTERVAL).log()
    weights = [
        math.prod((place - other) / (level - other) for other in levels if other != level) for level in levels
    ]
    return torch.cat(weights, 1)


def lobe_at(response: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of A and of B [C, P] at every pixel's roughness, of a response [C, 1 + 2 LEVELS, P].

    Parameters
    ----------
    weights: [P, LEVELS] of the levels, or their derivatives.
    """
    plain, grazing = ((weights.T * part).sum(1) for part in response[:, 1:].unflatten(1, (2, LEVELS)).unbind(1))
    return plain, grazing


def vectors_size(pixels: int, bands: int) -> int:
    """How many numbers the vectors of so many pixels are."""
    return bands**2 * (1 + 2 * LEVELS) * pixels


@torch.no_grad()
def transfer_vectors(
    points: PixelPoints, bands: int, reached: Occlusion, lobe: SpecularLobe, count: int = DIRECTIONS
) -> Tensor:
    """The vectors D, A of every level and B of every level: [bands^2, 1 + 2 LEVELS, P].

    Each of a pixel's points takes its own share of the directions, so that a pixel's vectors are means over its
    square and over all directions.

    Parameters
    ----------
    reached: tells which light arrives; see `renderers.renderer.Occlusion`.
    lobe: what is reflected beside the Lambert lobe.
    count: of directions over the sphere.
    """
    directions = fibonacci_directions(count)
    basis = (sh_basis(directions, bands) * (4 * math.pi / count)).to(points.positions)
    directions = to_light_frame(directions).to(basis)
    sums = _lobe_sums(lobe).to(basis)
    pixels = len(points.pixel)
    vectors = basis.new_empty(bands**2, 1 + 2 * LEVELS, pixels)
    at_once = _pixels_at_once(points.positions.device)
    for start in range(0, pixels, at_once):
        chunk = slice(start, min(start + at_once, pixels))
        total = basis.new_zeros(1 + 2 * LEVELS, chunk.stop - start, bands**2)
        found, known = basis.new_zeros(2, 2 * LEVELS, chunk.stop - start)
        lit = _arriving(points, chunk, directions, reached)
        for point in range(POINTS):
            own = slice(point, None, POINTS)
            normal, view = points.normals[chunk, point], normalize(-points.positions[chunk, point], dim=-1)
            lobes = _lobes(lobe, normal, view, directions[own])
            found += lobes[1:].sum(-1)
            known += _look_up(sums, (normal * view).sum(-1)) / POINTS
            lobes *= lit[point]
            total.flatten(0, 1).addmm_(lobes.flatten(0, 1), basis[own])
        # Narrow lobes fall between the directions; what they would reflect of an even light is known.
        found *= 4 * math.pi / count
        total[1:] *= torch.where(found > 0, known / found, 0)[..., None]
        vectors[..., chunk] = total.permute(2, 0, 1)
    return vectors


def _pixels_at_once(device: torch.device) -> int:
    """How many pixels a chunk has: on a GPU as many as half of its free memory holds."""
    if device.type != "cuda":
        return PIXELS_AT_ONCE
    free, _ = torch.cuda.mem_get_info(device)
    return min(max(free // 2 // PIXEL_MEMORY, PIXELS_AT_ONCE), MOST_AT_ONCE)


def _arriving(points: PixelPoints, chunk: slice, directions: Tensor, reached: Occlusion) -> list[Tensor]:
    """For each of the pixels' points, whether light arrives from its own directions: [P, K] bool each.

    All rays are asked for at once; those from below the surface, by its interpolated normal, are spared.
    """
    lit = [points.normals[chunk, point] @ directions[point::POINTS].T > 0 for point in range(POINTS)]
    origins, towards = [], []
    for point, above in enumerate(lit):
        pixel, direction = above.nonzero().unbind(1)
        origin = points.positions[chunk, point] + OFFSET_MM * points.faces[chunk, point]
        origins.append(origin.index_select(0, pixel))
        towards.append(directions[point::POINTS].index_select(0, direction))
    arrived = reached(torch.cat(origins), torch.cat(towards)).split([len(rays) for rays in origins])
    return [above.masked_scatter(above, rays) for above, rays in zip(lit, arrived, strict=True)]


@lru_cache(maxsize=2)
def _lobe_sums(lobe: SpecularLobe) -> Tensor:
    """What A and B of every level reflect of unshadowed even light of radiance 1: [2 LEVELS, COSINES]."""
    cosine = torch.linspace(0, 1, COSINES, dtype=torch.float64).square()
    rows = [lobe.directional_albedo(roughness, cosine) for roughness in roughness_levels().tolist()]
    return torch.cat([torch.stack(part) for part in zip(*rows, strict=True)])


def _look_up(sums: Tensor, cosine: Tensor) -> Tensor:
    """Rows [2 LEVELS, P] of the table at n.v [P]; 0 where the normal turns away from the view."""
    place = cosine.clamp(0, 1).sqrt() * (COSINES - 1)
    first = place.long().clamp(max=COSINES - 2)
    return torch.lerp(sums[:, first], sums[:, first + 1], place - first) * (cosine > 0)


def _lobes(lobe: SpecularLobe, normal: Tensor, view: Tensor, directions: Tensor) -> Tensor:
    """Reflectance times cosine [1 + 2 LEVELS, P, K] towards views [P, 3], of light from directions [K, 3].

    Light from below is not reflected.
    """
    cosine = (normal @ directions.T).clamp_(min=0)
    leaving = (normal * view).sum(-1, keepdim=True)
    along = (view @ directions.T).add_(1).mul_(0.5).clamp_(min=1e-12)  # (v.h)^2
    towards = (cosine + leaving).square_().div_(along).mul_(0.25).clamp_(max=1)  # (n.h)^2
    away = along.sqrt_().neg_().add_(1).clamp_(min=0)
    schlick = away.square().square_().mul_(away)
    lobes = cosine.new_empty(1 + 2 * LEVELS, *cosine.shape)
    torch.mul(cosine, 1 / math.pi, out=lobes[0])
    plain, grazing = lobes[1:].view(2, LEVELS, *cosine.shape)
    lobe.evaluate(roughness_levels().tolist(), cosine, leaving, towards, plain)
    torch.mul(plain, schlick, out=grazing)
    plain -= grazing
    return lobes
