"""Heads in no model's span: ICT-FaceKit's shapes mixed region by region, and bent by random smooth fields.

A prior made of ICT-FaceKit's modes, of MakeHuman's population or of a smooth process of its own cannot say
these heads exactly, as it cannot say people. Shapes are in model space, as in `heads`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.ground_truth.heads import IctModel

Array = NDArray[np.float64]

MODES = 16  # of ICT-FaceKit's, the strongest: the same heads, however many of its files there are
BOUND = 2.2  # standard deviations that no amount exceeds
MIRROR = np.array([-1.0, 1.0, 1.0])
ONE_SIDED = 0.3  # of a standard deviation: how far the two sides of a face differ

# Regions that take amounts of the modes of their own: balls on the average head (mm; centre, radius), mirrored.
REGIONS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "eyes": ((31, 36, 80, 20),),
    "forehead": ((22, 85, 98, 15),),
    "nose": ((0, 4, 118, 14), (0, 24, 108, 5)),
    "cheeks": ((50, 0, 80, 10),),
    "mouth": ((0, -34, 108, 13), (18, -34, 104, 10)),
    "jaw": ((0, -68, 104, 8), (56, -52, 55, 10)),
    "ears": ((88, 10, -12, 20),),
    "skull": ((0, 100, -10, 50), (0, 0, -50, 50), (0, -150, -10, 50)),
}
OWN = 0.35  # share of the modes' variance that a region has to itself; the rest is the whole head's
FADING = 3.0  # power of the distance with which a region's weight falls

# Where faces differ in small: a place (mm, mirrored), how far it reaches, and how much it varies along x, y, z.
BUMPS = (
    (0, 29, 113, 26, 0.0, 0.0, 2.2),  # bridge of the nose
    (10, 20, 107, 20, 1.0, 0.0, 0.0),
    (0, 13, 126, 22, 0.0, 0.0, 1.6),  # its back
    (0, 2, 131, 24, 0.0, 1.5, 1.6),  # its tip
    (17, -2, 112, 22, 1.0, 0.5, 0.0),  # its wings
    (26, 56, 100, 32, 0.0, 1.0, 1.8),  # ridge of the brows
    (0, 84, 101, 48, 0.0, 0.0, 1.8),  # forehead
    (58, 52, 75, 42, 1.6, 0.0, 0.8),  # temples
    (55, 10, 80, 38, 1.6, 1.0, 1.5),  # cheekbones
    (34, -8, 98, 32, 0.0, 0.0, 1.6),  # beside the nose
    (48, -30, 80, 38, 1.6, 0.0, 1.2),  # cheeks
    (60, -50, 50, 42, 2.2, 1.4, 0.0),  # corners of the jaw
    (0, -68, 108, 32, 0.0, 1.6, 2.2),  # chin
    (14, -66, 104, 28, 1.4, 0.0, 0.6),
    (0, -50, 108, 20, 0.0, 0.0, 1.2),  # furrow above it
    (80, 15, -5, 50, 2.0, 2.0, 1.5),  # ears
)

LENGTHS = (15.0, 50.0)  # mm: how far a random field reaches
STRENGTH = (
    0.8,
    1.8,
)  # mm: its deviation along an axis if it reaches that far; less by the root of it
FIELDS, WAVES = 2, 400  # that a deformation, and a field, are the sum of
SHORTEST = 12.0  # mm: no wave is shorter

EYES = np.array([[31.0, 36.0, 80.0], [-31.0, 36.0, 80.0]])  # mm: their centres on the average head
HELD, LOOSE = 21.0, 38.0  # mm about them: within the first nothing bends, beyond the second everything does


@dataclass(frozen=True)
class BentIct(IctModel):
    """Bent heads, from the folder of the ICT-FaceKit light model."""

    def random(self, generator: np.random.Generator) -> Array:
        """A mixed and bent head [V, 3]."""
        return bent(self.neutral, self.identities, generator)


def bent(neutral: Array, identities: Array, generator: np.random.Generator) -> Array:
    """A random head [V, 3] on the vertices of ICT-FaceKit's average one.

    Parameters
    ----------
    neutral: the average head [V, 3] mm.
    identities: offsets [K, V, 3] of one standard deviation of each identity shape, of which `MODES` count.
    """
    modes = identities[:MODES]
    common, own = bounded(generator, len(modes)), bounded(generator, len(REGIONS), len(modes))
    amounts = np.sqrt(1 - OWN) * common + np.sqrt(OWN) * own
    mixed = np.einsum("vr,rk,kvc->vc", regions(neutral), amounts, modes, optimize=True)
    points = np.concatenate([neutral, EYES])
    change = bumps(points, generator) + random_field(points, generator)
    return neutral + mixed + held_at_eyes(neutral, change[: -len(EYES)], change[-len(EYES) :])


def bounded(generator: np.random.Generator, *shape: int) -> Array:
    """Normally distributed amounts; those beyond `BOUND` are drawn anew."""
    drawn = generator.normal(size=shape)
    while (far := np.abs(drawn) > BOUND).any():
        drawn[far] = generator.normal(size=int(far.sum()))
    return drawn


def regions(points: Array) -> Array:
    """How much points [V, 3] belong to each region, [V, R]: inverse distances (Shepard 1968); rows sum to 1."""
    away = np.stack([_outside(points, np.array(balls, float)) for balls in REGIONS.values()], 1)
    nearness = np.maximum(away, 1e-2) ** -FADING
    return nearness / nearness.sum(1, keepdims=True)


def bumps(points: Array, generator: np.random.Generator) -> Array:
    """Offsets [V, 3] at points [V, 3]: random amounts of every local bump, almost alike on both sides."""
    total = np.zeros_like(points)
    for across, up, front, reach, *spread in BUMPS:
        both, one = bounded(generator, 2, 3) * spread
        for side in (1.0, -1.0):
            place = np.array([side * across, up, front])
            away = np.minimum(np.linalg.norm(points - place, axis=1) / reach, 1)
            height = (1 - away) ** 4 * (4 * away + 1) / (1 if across else 2)  # Wendland (1995), twice smooth
            amount = both * [side, 1, 1] + side * ONE_SIDED * one * [side, 1, 1]
            total += height[:, None] * amount
    return total


def random_field(points: Array, generator: np.random.Generator) -> Array:
    """Offsets [V, 3] at points [V, 3] of Gaussian processes with Matern's kernel of smoothness 5/2.

    Sums of waves whose frequencies have the kernel's spectral density, Student's with five degrees of freedom
    (Rahimi and Recht 2007, Random features for large-scale kernel machines).
    """
    total = np.zeros_like(points)
    strength = generator.uniform(*STRENGTH)
    for _ in range(FIELDS):
        length = np.exp(generator.uniform(*np.log(LENGTHS)))
        spread = np.sqrt(5 / generator.chisquare(5, (WAVES, 1))) / length
        waves = generator.normal(size=(WAVES, 3)) * spread
        waves *= np.minimum(1, 2 * np.pi / SHORTEST / np.linalg.norm(waves, axis=1, keepdims=True))
        phases = generator.uniform(0, 2 * np.pi, WAVES)
        heights = generator.normal(size=(WAVES, 3)) * np.sqrt(2 / WAVES)
        here, opposite = (np.cos(at @ waves.T + phases) @ heights for at in (points, points * MIRROR))
        alike, unlike = here + opposite * MIRROR, here - opposite * MIRROR
        share = strength * np.sqrt(length / LENGTHS[1] / FIELDS)
        total += share * (alike + ONE_SIDED * unlike) / np.sqrt(2)
    return total


def held_at_eyes(points: Array, change: Array, at_eyes: Array) -> Array:
    """Offsets [V, 3] that move the eyes [2, 3] and what lies about them as one: lids stay on the eyeballs."""
    held = change.copy()
    for eye, moved in zip(EYES, at_eyes, strict=True):
        away = np.linalg.norm(points - eye, axis=1)
        way = np.clip((away - HELD) / (LOOSE - HELD), 0, 1)
        near = (1 - way * way * (3 - 2 * way))[:, None]
        held += near * (moved - change)
    return held


def _outside(points: Array, balls: Array) -> Array:
    """Distances [V] of points [V, 3] from the nearest of balls [B, 4] and their mirror images; 0 inside."""
    centres = np.concatenate([balls[:, :3], balls[:, :3] * MIRROR])
    radii = np.concatenate([balls[:, 3]] * 2)
    away = np.linalg.norm(points[:, None] - centres, axis=2) - radii
    return np.maximum(away.min(1), 0)
