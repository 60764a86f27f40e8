"""Lights of the ground truth: latitude-longitude maps in the light frame, sharp-edged and unfiltered.

Azimuths count from the photographer to the picture's right, elevations from the horizon up, both in degrees.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nextface.scene.lighting import map_directions, map_solid_angles

Array = NDArray[np.float64]

HEIGHT = 256  # rows of every map
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of linear sRGB, Rec. 709
WHITE_BALANCE = 0.75  # how much of the light's cast a camera takes away
UP = np.array([0.0, 1.0, 0.0])
RELIGHT_SEEDS = {"sun_and_sky": 7_001, "studio": 7_002, "window": 7_003}  # no photo's light has one of these


def towards(azimuth: float, elevation: float) -> Array:
    """The unit vector [3] towards a direction in degrees."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def planck(kelvin: float) -> Array:
    """Linear sRGB [3] of unit luminance of a black body at 1,667 to 25,000 K.

    The chromaticity is the approximation of Kim et al., US patent 7,024,034, 2006.
    """
    t = 1000.0 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    to_srgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.maximum(to_srgb @ np.array([x / y, 1.0, (1 - x - y) / y]), 0.0)


def panel(
    azimuth: float, elevation: float, width: float, height: float
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """A rectangle that stands upright on the ray from the head to it, width and height in degrees.

    Returns
    -------
    Positions across and up [H, 2H], from -1 to 1 inside of it, and where the map shows it.
    """
    directions, centre = map_directions(HEIGHT).numpy(), towards(azimuth, elevation)
    right = np.cross(UP, centre)
    right /= np.linalg.norm(right)
    depth = directions @ centre
    with np.errstate(divide="ignore", invalid="ignore"):
        across = directions @ right / depth / np.tan(np.radians(width / 2))
        up = directions @ np.cross(centre, right) / depth / np.tan(np.radians(height / 2))
    return across, up, (depth > 0) & (abs(across) < 1) & (abs(up) < 1)


def disc(azimuth: float, elevation: float, radius: float) -> NDArray[np.bool_]:
    """Where the map [H, 2H] shows a round light of an angular radius in degrees."""
    return map_directions(HEIGHT).numpy() @ towards(azimuth, elevation) > np.cos(np.radians(radius))


def _room(random: np.random.Generator, colour: Array) -> Array:
    """Dim walls, a lighter ceiling and a darker floor."""
    up = map_directions(HEIGHT).numpy()[..., 1:2]
    wall = random.uniform(0.05, 0.16)
    return wall * (1 + random.uniform(0.2, 0.7) * np.clip(up, -0.8, 1)) * colour


def studio(random: np.random.Generator) -> Array:
    """A key light, fills and perhaps a rim light, all rectangles, in a dim room."""
    radiance = _room(random, planck(random.uniform(4_500, 6_500)))
    side = random.choice([-1, 1])
    places = [
        (side * random.uniform(15, 60), random.uniform(10, 45), random.uniform(14, 35), 1.0),
        (
            -side * random.uniform(30, 75),
            random.uniform(-5, 25),
            random.uniform(20, 45),
            random.uniform(0.12, 0.4),
        ),
        (
            -side * random.uniform(110, 150),
            random.uniform(5, 40),
            random.uniform(10, 20),
            random.uniform(0.3, 0.9),
        ),
    ]
    for azimuth, elevation, width, power in places[: random.integers(2, 4)]:
        height = width * random.uniform(0.7, 1.8)
        _, _, lit = panel(azimuth, elevation, width, height)
        radiance[lit] = power * 3.0 / _steradians(lit) * planck(random.uniform(3_800, 6_800))
    return radiance


def window(random: np.random.Generator) -> Array:
    """Light from one side through a window with glazing bars, in a room with warm walls."""
    radiance = _room(random, planck(random.uniform(2_800, 4_500)))
    azimuth = random.choice([-1, 1]) * random.uniform(20, 75)
    across, up, lit = panel(azimuth, random.uniform(0, 25), random.uniform(35, 60), random.uniform(40, 65))
    columns, rows = random.integers(2, 4), random.integers(1, 4)
    bars = (abs((across * columns) % 2 - 1) > 0.93) | (abs((up * rows) % 2 - 1) > 0.94)
    sky = (0.55 + 0.45 * up)[..., None] * planck(random.uniform(6_500, 10_000))
    outside = np.where(up[..., None] > random.uniform(-0.7, -0.1), sky, 0.25 * planck(5_000) * [0.9, 1.05, 0.8])
    opening = lit & ~bars
    radiance[opening] = 3.5 / _steradians(opening) * outside[opening]
    return radiance


def sun_and_sky(random: np.random.Generator) -> Array:
    """A clear sky (type 12 of CIE S 011, Kittler's formula), a hazy sun, and ground that both light."""
    directions = map_directions(HEIGHT).numpy()
    azimuth, elevation = random.choice([-1, 1]) * random.uniform(10, 80), random.uniform(15, 60)
    sun = towards(azimuth, elevation)
    height = np.maximum(directions[..., 1], 0.01)
    away = np.arccos(np.clip(directions @ sun, -1, 1))
    sky = (1 - np.exp(-0.32 / height)) * (0.91 + 10 * np.exp(-3 * away) + 0.45 * np.cos(away) ** 2)
    blue = np.exp(-1.2 * away)[..., None]
    colour = blue * planck(6_000) + (1 - blue) * planck(random.uniform(9_000, 16_000))
    radiance = sky[..., None] * colour
    cosine = np.maximum(directions[..., 1], 0) * map_solid_angles(HEIGHT).numpy()
    irradiance = np.einsum("hw,hwc->c", cosine, radiance)
    lit = disc(azimuth, elevation, random.uniform(1.2, 3.0))
    direct = random.uniform(0.6, 3.0) * irradiance @ LUMINANCE * planck(random.uniform(4_500, 5_600))
    ground = random.uniform(0.1, 0.35) * np.array([1.0, 0.95, 0.8]) * (irradiance + sun[1] * direct) / np.pi
    radiance = np.where(directions[..., 1:2] > 0, radiance, ground)
    radiance[lit] = direct / _steradians(lit)
    return radiance


def indoor(random: np.random.Generator) -> Array:
    """Warm lamps overhead and beside, and something cool: a screen or a far window."""
    warm = planck(random.uniform(2_600, 3_200))
    radiance = 1.5 * _room(random, planck(random.uniform(2_900, 3_800)))
    for _ in range(random.integers(2, 5)):
        lit = disc(random.uniform(-90, 90), random.uniform(20, 65), random.uniform(3, 8))
        radiance[lit] = random.uniform(0.4, 1.0) / _steradians(lit) * warm
    _, _, lit = panel(
        random.uniform(-60, 60), random.uniform(-20, 10), random.uniform(25, 45), random.uniform(18, 30)
    )
    radiance[lit] = random.uniform(0.4, 1.2) / _steradians(lit) * planck(random.uniform(6_500, 9_000))
    return radiance


KINDS: dict[str, Callable[[np.random.Generator], Array]] = {
    "studio": studio,
    "window": window,
    "sun_and_sky": sun_and_sky,
    "indoor": indoor,
}


def metered(radiance: Array) -> Array:
    """What an incident-light meter at the head reads of a map, [3], with its dome towards the camera.

    A dome weighs light by (1 + cos) / 2. The mean is over the weights: uniform light of radiance 1 reads 1.
    """
    weights = (1 + map_directions(radiance.shape[0]).numpy()[..., 2]) * map_solid_angles(
        radiance.shape[0]
    ).numpy()
    return np.einsum("hw,hwc->c", weights, radiance) / weights.sum()


def environment(kind: str, seed: int) -> NDArray[np.float32]:
    """A light of one of `KINDS`, [H, 2H, 3], white-balanced as cameras do, that meters a luminance of 1."""
    radiance = KINDS[kind](np.random.default_rng(seed))
    reading = metered(radiance)
    balanced = radiance * (reading @ LUMINANCE / reading) ** WHITE_BALANCE
    return (balanced / (metered(balanced) @ LUMINANCE)).astype(np.float32)


def relighting_environments() -> list[NDArray[np.float32]]:
    """Three lights [H, 2H, 3] that light no photo, to relight reconstructions with."""
    return [environment(kind, seed) for kind, seed in RELIGHT_SEEDS.items()]


def _steradians(shown: NDArray[np.bool_]) -> float:
    return float(map_solid_angles(HEIGHT).numpy()[shown].sum())
