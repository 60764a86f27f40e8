"""Painted reflectance of a head, vertex by vertex: three skin tones, and what makes faces differ from wax.

Skin is a base colour, darkened by what melanin and blood absorb, and covered by hair. Everything is laid out on
the source's average head, so that it moves with identity and expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.ground_truth.detail import depth_inside, gradient_noise, layered_noise, smooth_step, spots
from benchmarks.ground_truth.heads import EYE, INSIDE, SKIN, TEETH, TONGUE, Head
from nextface.landmarks import MEDIAPIPE

Array = NDArray[np.float64]

# CIELAB under D65 of facial skin, mean and standard deviation between people: about the measurements of Xiao
# et al., "Characterising the variations in ethnic skin colours", Skin Research and Technology 23 (2017), with a
# darker dark group. Individual typology angles are about 46, 20 and -38 degrees.
TONES = {
    "light": ((66.0, 11.0, 15.5), (1.8, 1.2, 1.4)),
    "medium": ((57.0, 13.0, 19.0), (1.8, 1.2, 1.4)),
    "dark": ((38.0, 12.0, 15.5), (2.0, 1.0, 1.4)),
}
MELANIN = np.array([0.55, 0.95, 1.25])  # what a unit absorbs of red, green and blue
BLOOD = np.array([0.12, 0.85, 0.60])
PUPILLARY_MM = 63.0  # between the eyes' centres, to which lengths below refer


@dataclass(frozen=True)
class Paint:
    """Reflectance of V vertices for Mitsuba's `principled` BSDF."""

    colour: Array  # [V, 3] linear base colour
    roughness: Array  # [V]
    scalp_hair: Array  # [V] in [0, 1], how much hair covers the scalp


def lab_to_linear(lab: Array) -> Array:
    """Linear sRGB [..., 3] of CIELAB values [..., 3] under D65."""
    level = (lab[..., :1] + 16) / 116
    root = np.concatenate([level + lab[..., 1:2] / 500, level, level - lab[..., 2:] / 200], -1)
    xyz = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29)) * [0.95047, 1.0, 1.08883]
    to_srgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return xyz @ to_srgb.T


def paint(head: Head, landmarks: Array, tone: str, seed: int) -> Paint:
    """Paint a head.

    Parameters
    ----------
    head: its surface.
    landmarks: MediaPipe's 478 points on the average head, [478, 3] mm.
    tone: one of `TONES`.
    seed: everything else: freckles or none, a shaved beard or none, moles, colours of hair and eyes.
    """
    random = np.random.default_rng(seed)
    eyes = [landmarks[list(ring)].mean(0) for ring in (MEDIAPIPE.right_eye, MEDIAPIPE.left_eye)]
    scale = PUPILLARY_MM / float(np.linalg.norm(eyes[1] - eyes[0]))
    points, marks = (head.template - np.mean(eyes, 0)) * scale, (landmarks - np.mean(eyes, 0)) * scale
    side, up, front = abs(points[:, 0]), points[:, 1], points[:, 2]
    nose, mouth = marks[1], marks[[13, 14]].mean(0)

    def noise_seed() -> int:
        return int(random.integers(1 << 30))

    def spot(across: float, above: float, width: float, height: float) -> Array:
        away = ((side - across) / width) ** 2 + ((up - above) / height) ** 2
        return np.exp(-away) * (front > -45)

    def inside(ring: tuple[int, ...]) -> Array:
        depth = np.full(len(points), -50.0)
        near = (front > -30) & (side < 80)
        depth[near] = depth_inside(points[near, :2], marks[list(ring), :2])
        return depth

    lids = np.maximum(inside(MEDIAPIPE.right_eye), inside(MEDIAPIPE.left_eye))
    lips = smooth_step(inside(MEDIAPIPE.lips_outer), -0.7, 0.9) * (head.part == SKIN)
    cheeks = spot(36, nose[1] + 4, 17, 15)
    socket = spot(18, -4, 15, 11) + 0.8 * spot(28, -14, 16, 6)
    ears = smooth_step(side, 73, 77) * smooth_step(abs(front + 90), 36, 30) * smooth_step(abs(up + 18), 36, 28)

    # What lies in the skin
    melanin = 0.065 * layered_noise(points, (42, 17, 7), noise_seed()) + 0.032 * layered_noise(
        points, (3.0, 1.3), noise_seed()
    )
    melanin += 0.16 * socket + 0.10 * smooth_step(-up, -mouth[1] - 10, -mouth[1] + 50) - 0.08 * cheeks
    blood = 0.056 * layered_noise(points, (30, 11), noise_seed()) + 0.035 * layered_noise(
        points, (4.0, 1.6), noise_seed()
    )
    flush = random.uniform(0.5, 1.3)
    blood += flush * (
        0.26 * cheeks + 0.26 * spot(0, nose[1], 14, 11) + 0.20 * ears + 0.10 * spot(0, marks[152, 1], 18, 12)
    )
    blood += 0.10 * socket
    on_skin = np.flatnonzero((head.part == SKIN) & (front > -70))
    freckled = random.uniform(0.4, 1.0) if tone != "dark" and random.uniform() < 0.5 else 0.05
    where = 0.15 + spot(0, nose[1] + 14, 48, 26) + 0.4 * spot(0, 45, 55, 25)
    melanin += _scattered(points, on_skin, where, int(900 * freckled), (0.5, 1.3), (0.15, 0.55), random)
    melanin += _scattered(points, on_skin, None, int(random.integers(6, 24)), (0.7, 1.8), (0.8, 2.2), random)
    blood += _scattered(points, on_skin, None, int(random.integers(4, 30)), (0.9, 2.2), (0.2, 0.7), random)
    # How much of the light comes back at all: horn, collagen, pores. It has hardly any hue.
    scattering = 0.15 * layered_noise(points, (95, 55), noise_seed()) + 0.08 * layered_noise(
        points, (24, 14), noise_seed()
    )
    scattering += 0.03 * layered_noise(points, (2.0, 1.0), noise_seed())
    wrinkled = 0.5 + 0.35 * gradient_noise(points, np.array([1.2, 7.0, 3.0]), noise_seed())
    blood += lips * (random.uniform(0.45, 0.8) + 0.12 * wrinkled)
    melanin += lips * random.uniform(0.0, 0.2)

    mean, spread = TONES[tone]
    base = lab_to_linear(np.array(mean) + np.array(spread) * random.normal(size=3))
    # Blood absorbs least where melanin hides it.
    strength = {"light": 1.0, "medium": 0.85, "dark": 0.6}[tone]
    absorbed = melanin[:, None] * MELANIN + strength * blood[:, None] * BLOOD
    colour = base * np.exp(-absorbed - scattering[:, None])

    # What grows out of it
    lightness = {"light": random.uniform(0, 1), "medium": random.uniform(0, 0.3), "dark": 0.0}[tone]
    hair = np.array([0.022, 0.016, 0.012]) + lightness * np.array([0.16, 0.10, 0.05])
    strands = smooth_step(gradient_noise(points, np.array([2.4, 1.0, 1.6]), noise_seed()), -2.7, 0.15)
    arch = np.maximum(inside(MEDIAPIPE.right_brow), inside(MEDIAPIPE.left_brow))
    ragged = arch + 0.5 * gradient_noise(points, 2.0, noise_seed())
    brows = smooth_step(ragged, -1.4, 1.6) * strands * random.uniform(0.75, 0.97)
    fine = smooth_step(gradient_noise(points, 1.1, noise_seed()), -1.1, 1.7)
    shaved = random.uniform(0.25, 0.6) if random.uniform() < 0.5 else 0.0
    beard = shaved * _beard(side, up, front, nose, mouth, marks[152]) * (0.45 + 0.55 * fine) * (1 - lips)
    scalp = _scalp(up, front, marks[10]) + 0.042 * layered_noise(points, (9, 4), noise_seed())
    scalp = smooth_step(scalp, 0, 0.25) * (1 - ears)
    cropped = scalp * (0.84 + 0.14 * fine)
    lashes = smooth_step(abs(lids + 0.3), 1.5, 0.3) * smooth_step(up, -4.5, -1.5) * 0.8
    cover = np.maximum.reduce([brows, beard, cropped, lashes]) * (head.part == SKIN)
    stubble = np.where((beard >= cover - 1e-9)[:, None], 0.5 * hair + 0.35 * colour * [0.75, 0.9, 1.0], hair)
    colour = colour * (1 - cover[:, None]) + stubble * cover[:, None]

    oily = spot(0, 42, 38, 22) + spot(0, nose[1] + 6, 13, 24) + 0.5 * spot(0, marks[152, 1] + 8, 16, 9)
    roughness = 0.48 + random.uniform(-0.05, 0.05) - 0.09 * np.clip(oily, 0, 1) - 0.10 * lips + 0.25 * cover
    roughness = roughness + 0.02 * layered_noise(points, (6, 2), noise_seed())
    colour, roughness = _other_parts(head, colour, roughness, random)
    return Paint(np.clip(colour, 0.003, 0.95), np.clip(roughness, 0.08, 0.95), scalp * (head.part == SKIN))


def clay(head: Head) -> Paint:
    """A head of one skin colour, but for its eyes, teeth and inner parts."""
    count = len(head.part)
    colour, roughness = np.tile([0.50, 0.38, 0.31], (count, 1)), np.full(count, 0.5)
    return Paint(*_other_parts(head, colour, roughness, np.random.default_rng(0)), np.zeros(count))


def _scattered(
    points: Array,
    candidates: NDArray[np.int64],
    density: Array | None,
    count: int,
    radii: tuple[float, float],
    strengths: tuple[float, float],
    random: np.random.Generator,
) -> Array:
    """Spots [V] at random candidates, by a density [V] where one is given."""
    share = None if density is None else density[candidates] / density[candidates].sum()
    centres = points[random.choice(candidates, count, p=share)]
    return spots(points, centres, random.uniform(*radii, count), random.uniform(*strengths, count))


def _beard(side: Array, up: Array, front: Array, nose: Array, mouth: Array, chin: Array) -> Array:
    """Where a beard grows, [V]: upper lip, chin, jaw and the sides below the cheekbones."""
    top = nose[1] - 10 + 22 * smooth_step(side, 28, 70)
    below = smooth_step(up, top + 5, top - 6)
    throat = smooth_step(up, chin[1] - 32, chin[1] - 8)
    return below * throat * smooth_step(front, -85, -62)


def _scalp(up: Array, front: Array, forehead: Array) -> Array:
    """Above 0 where hair grows on the head, [V]: behind a plane from the hairline to behind the ears."""
    top, behind = np.array([forehead[1] + 6, forehead[2]]), np.array([-42.0, -112.0])
    along = (behind - top) / np.linalg.norm(behind - top)
    return ((up - top[0]) * -along[1] + (front - top[1]) * along[0]) / 20


def _other_parts(
    head: Head, colour: Array, roughness: Array, random: np.random.Generator
) -> tuple[Array, Array]:
    """Eyes, teeth, gums and the inside of mouth and sockets."""
    inner = np.array([0.26, 0.085, 0.08])
    iris = np.array([[0.06, 0.030, 0.016], [0.10, 0.065, 0.03], [0.09, 0.13, 0.17]])[
        random.choice(3, p=[0.6, 0.2, 0.2])
    ]
    angle = head.eye_angle[:, None]
    white = np.array([0.58, 0.53, 0.49]) * (1 - 0.35 * smooth_step(angle, 32, 75))
    limbus = np.exp(-(((angle - 21.5) / 2.0) ** 2))
    eye = np.where(angle > 22.5, white, np.where(angle > 8.5, iris * (1 - 0.6 * limbus), 0.008))
    for part, value, gloss in ((INSIDE, inner, 0.35), (TEETH, [0.55, 0.50, 0.41], 0.25), (TONGUE, inner, 0.35)):
        chosen = head.part == part
        colour = np.where(chosen[:, None], value, colour)
        roughness = np.where(chosen, gloss, roughness)
    eyes = head.part == EYE
    return np.where(eyes[:, None], eye, colour), np.where(eyes, 0.1, roughness)
