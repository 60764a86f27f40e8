"""The appearance prior: how each coefficient changes melanin, blood, hair, eyes and gloss, by vertex.

Everything is a linear field of coefficients that the runtime (`nextface/models/open_head/model.py`) squashes
into plausible bounds, so no coefficient can make skin white or negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from . import eyeball
from .regions import Places, beard_field, brow_field, lash_field, scalp_field, smooth_step
from .skin_spectra import fitted_polynomial
from .topology import Head

Array = NDArray[np.float64]

SMOOTH_MODES = 5
COEFFICIENTS = (
    "melanin", "blood", "undertone", "lip_blood", "lip_melanin", "cheek_blood", "nose_blood", "eye_shadow",
    "brow_density", "hair_lightness", "hair_redness", "beard_density", "moustache", "chin_beard", "scalp_hair",
    "sclera", "iris_lightness", "iris_hue", "lower_face",
    *(f"melanin_mode_{mode + 1}" for mode in range(SMOOTH_MODES)),
    *(f"blood_mode_{mode + 1}" for mode in range(SMOOTH_MODES)),
    "gloss", "shine", "lip_gloss", "roughness",
)  # fmt: skip
SPECULAR_MEAN, ROUGHNESS_MEAN = 0.028, 0.5


@dataclass(frozen=True)
class Appearance:
    """Constants [V, ...] and linear fields [A, V, ...] of the prior; see the runtime for how they combine."""

    names: tuple[str, ...]
    melanin: Array  # [1 + A, V], constant first
    blood: Array  # [1 + A, V]
    hair_cover: Array  # [V], the densest hair can get
    hair: Array  # [1 + A, V], logit of the share of that cover
    hair_colour: Array  # [1 + A, 3], log albedo
    undertone: Array  # [A, 3], log albedo of skin
    other: Array  # [1 + A, V, 3], log albedo where there is no skin
    is_skin: NDArray[np.bool_]  # [V]
    specular: Array  # [1 + A, V], logit of F0 / 0.08
    roughness: Array  # [1 + A, V], logit of (roughness - 0.1) / 0.9
    skin_polynomial: Array  # [M, 3]


def _cotangent_laplacian(positions: Array, triangles: NDArray[np.int64]) -> tuple[sparse.csr_matrix, Array]:
    """The cotangent Laplacian [V, V] of a surface (Pinkall, Polthier 1993), and the area at each vertex [V]."""
    count = len(positions)
    laplacian, area = sparse.csr_matrix((count, count)), np.zeros(count)
    for corner in range(3):
        apex, first, second = (triangles[:, (corner + step) % 3] for step in range(3))
        one, other = positions[first] - positions[apex], positions[second] - positions[apex]
        doubled = np.linalg.norm(np.cross(one, other), axis=1)
        weight = np.maximum((one * other).sum(1) / doubled, 0.01) / 2
        rows, columns = (
            np.concatenate([first, second, first, second]),
            np.concatenate([second, first, first, second]),
        )
        laplacian += sparse.csr_matrix(
            (np.concatenate([-weight, -weight, weight, weight]), (rows, columns)), (count, count)
        )
        area += np.bincount(apex, doubled / 6, count)
    return laplacian, area


def smooth_modes(positions: Array, head: Head, weight: Array, count: int) -> Array:
    """The `count` smoothest symmetric functions [count, V] where `weight` [V] is positive, of unit variance.

    Eigenfunctions of the Laplacian after the constant one; `weight` says where they should vary.
    """
    kept = np.flatnonzero(weight > 0)
    local = np.full(len(positions), -1)
    local[kept] = np.arange(len(kept))
    triangles = local[head.triangles]
    laplacian, area = _cotangent_laplacian(positions[kept], triangles[(triangles >= 0).all(1)])
    mass = np.maximum(area, 1e-6) * weight[kept]
    start = np.random.default_rng(0).normal(size=len(kept))
    _, vectors = eigsh(laplacian.tocsc(), 3 * count + 4, M=sparse.diags(mass).tocsc(), sigma=-1e-6, v0=start)
    modes: list[Array] = []
    for vector in vectors.T[1:]:
        field = np.zeros(len(positions))
        field[kept] = vector
        even = (field + field[head.mirror]) / 2
        if np.linalg.norm(even) > 0.9 * np.linalg.norm(field):
            spread = np.sqrt((mass * even[kept] ** 2).sum() / mass.sum())
            mode = np.clip(even / spread, -2.5, 2.5)
            modes.append(mode * np.sign(mode[np.abs(mode).argmax()]))
    return np.array(modes[:count])


def _eye_colours(angle: Array) -> tuple[Array, Array, Array]:
    """Log albedo [E, 3] of eyeballs by degrees off the axis, and the share [E] that is iris and sclera."""
    pupil = smooth_step(angle, eyeball.PUPIL_EDGE + 0.4, eyeball.PUPIL_EDGE - 0.4)
    iris = smooth_step(angle, eyeball.IRIS_EDGE + 1.0, eyeball.IRIS_EDGE - 1.0) * (1 - pupil)
    sclera = 1 - iris - pupil
    limbus = np.exp(-(((angle - eyeball.IRIS_EDGE + 1.2) / 1.8) ** 2)) * iris
    ring = np.exp(-(((angle - eyeball.PUPIL_EDGE - 3.0) / 3.0) ** 2)) * iris
    far = smooth_step(angle, 35, 80)
    white = np.array([0.60, 0.55, 0.51]) * (1 - far[:, None] * np.array([0.15, 0.4, 0.42]))
    brown = np.array([0.085, 0.045, 0.025])
    iris_colour = brown * (1 + 0.7 * ring - 0.6 * limbus)[:, None]
    colour = 0.012 * pupil[:, None] + iris[:, None] * iris_colour + sclera[:, None] * white
    return np.log(colour), iris, sclera


def build(head: Head, positions: Array, places: Places) -> Appearance:
    """The prior on the mean head's fine vertices [V, 3]."""
    names = COEFFICIENTS
    index = {name: 1 + number for number, name in enumerate(names)}
    size, count = 1 + len(names), len(positions)
    skin = (head.part == 0) & (places.mouth_inside < 0.5)
    lips = smooth_step(places.lips, 0.15, 0.75) * skin

    def spot(side: float, up: float, width: float, height: float) -> Array:
        """A soft spot on both sides of the front of the face, 1 at its middle."""
        away = ((places.side - side) / width) ** 2 + ((places.up - up) / height) ** 2
        return np.exp(-away) * (places.front > -35)

    nose, mouth = places.nose_tip, places.mouth
    cheeks = spot(36, -34, 19, 18)
    nose_tip = spot(0, nose[1], 15, 12)
    shadow = spot(17, -4, 13, 10) + 0.8 * spot(30, -15, 15, 6)
    lid = smooth_step(places.eyelids, 0.1, 0.8)
    face = np.clip(places.face, 0, 1) * skin

    melanin, blood = np.zeros((size, count)), np.zeros((size, count))
    melanin[0] = (
        0.25 + 0.08 * lips + 0.09 * np.clip(shadow, 0, 1) + 0.09 * lid - 0.045 * cheeks + 0.04 * (1 - face)
    )
    blood[0] = (
        -0.10
        + 0.65 * lips
        + 0.10 * np.clip(shadow, 0, 1)
        + 0.22 * cheeks
        + 0.28 * nose_tip
        + 0.12 * places.ears
        + 0.25 * lid
        + 0.1 * spot(0, mouth[1] - 25, 16, 10)
    )
    # The mean is brown skin in the middle of all people's L*, which then falls by about 10 a standard deviation
    # down to the darkest skin and rises until the epidermis is nearly clear.
    melanin[index["melanin"]] = 0.42 - 0.07 * lips
    blood[index["blood"]] = 0.2
    blood[index["lip_blood"]] = 0.18 * lips
    melanin[index["lip_melanin"]] = 0.17 * lips
    blood[index["cheek_blood"]] = 0.16 * cheeks
    blood[index["nose_blood"]] = 0.16 * nose_tip
    melanin[index["eye_shadow"]] = 0.09 * np.clip(shadow, 0, 1) + 0.045 * lid
    blood[index["eye_shadow"]] = 0.10 * np.clip(shadow, 0, 1)
    lower = smooth_step(places.up, mouth[1] + 20, mouth[1] - 30)
    melanin[index["lower_face"]] = 0.06 * (lower - 0.3)
    weight = np.where(skin & (places.socket < 0.5), 0.1 + 0.9 * face, 0)
    modes = smooth_modes(positions, head, weight, SMOOTH_MODES)
    for number, mode in enumerate(modes):
        melanin[index[f"melanin_mode_{number + 1}"]] = 0.055 * mode
        blood[index[f"blood_mode_{number + 1}"]] = 0.06 * mode

    growth = {
        "brow": 0.85 * brow_field(places),
        "beard": 0.75 * beard_field(places),
        "scalp": 0.85 * scalp_field(places),
        "lash": 0.75 * lash_field(places),
    }
    hair_cover = np.maximum.reduce(list(growth.values())) * skin
    total = np.maximum(sum(growth.values()), 1e-9)
    share = {name: field / total for name, field in growth.items()}
    hair = np.zeros((size, count))
    hair[0] = 1.8 * share["brow"] - 2.6 * share["beard"] + 1.0 * share["scalp"] + 1.5 * share["lash"]
    hair[index["brow_density"]] = 0.7 * share["brow"]
    hair[index["beard_density"]] = 1.3 * share["beard"]
    upper_lip = smooth_step(places.up, mouth[1] - 4, mouth[1] + 4) * smooth_step(places.side, 42, 30)
    chin = smooth_step(places.up, mouth[1] + 4, mouth[1] - 4) * smooth_step(places.side, 36, 20)
    hair[index["moustache"]] = 1.3 * share["beard"] * upper_lip
    hair[index["chin_beard"]] = 1.3 * share["beard"] * chin
    hair[index["scalp_hair"]] = 1.2 * share["scalp"]
    hair_colour, undertone = np.zeros((size, 3)), np.zeros((size, 3))
    hair_colour[0] = np.log([0.034, 0.022, 0.0155])
    hair_colour[index["hair_lightness"]] = [0.55, 0.50, 0.42]
    hair_colour[index["hair_redness"]] = [0.12, -0.02, -0.08]
    hair_colour[index["melanin"]] = [-0.26, -0.26, -0.26]
    # The two chromophores alone are yellower than the mean of measured skin (Cooksey et al., "Reference data
    # set of human skin reflectance", 2014: about 1 : 0.6 : 0.45).
    undertone[0] = [0.03, 0.04, 0.09]
    undertone[index["undertone"]] = [0.03, 0.0, -0.09]

    other = np.zeros((size, count, 3))
    eyes = ~np.isnan(head.eye_angle)
    other[0, eyes], iris, sclera = _eye_colours(head.eye_angle[eyes])
    other[index["sclera"], eyes] = sclera[:, None] * np.array([-0.04, -0.08, -0.12])
    other[index["iris_lightness"], eyes] = iris[:, None] * np.array([0.35, 0.48, 0.58])
    other[index["iris_hue"], eyes] = iris[:, None] * np.array([-0.12, 0.06, 0.25])
    inside = (head.part == 0) & ~skin
    depth = smooth_step(places.front, -5, 12)[:, None]
    other[0, inside] = np.log(np.array([0.13, 0.030, 0.025]) + depth[inside] * np.array([0.16, 0.07, 0.06]))
    tongue = head.part == 5
    other[0, tongue] = (
        np.log([0.30, 0.115, 0.10]) + np.log(0.3 + 0.7 * smooth_step(places.front[tongue], -40, 0))[:, None]
    )
    for part, up in ((3, 1), (4, -1)):
        teeth = head.part == part
        height = up * places.up[teeth]
        gum = smooth_step(height, np.quantile(height, 0.55), np.quantile(height, 0.75))[:, None]
        other[0, teeth] = np.log(np.array([0.58, 0.52, 0.42]) * (1 - gum) + np.array([0.36, 0.13, 0.12]) * gum)
        other[0, teeth] += np.log(0.25 + 0.75 * smooth_step(places.front[teeth], -35, 0))[:, None]

    def logit(value: Array | float) -> Array:
        return np.log(value) - np.log1p(-np.asarray(value))

    def lift(specular_value: float) -> float:
        return float(logit(specular_value / 0.08) - logit(SPECULAR_MEAN / 0.08))

    def rough(value: float) -> float:
        return float(logit((value - 0.1) / 0.9) - logit((ROUGHNESS_MEAN - 0.1) / 0.9))

    zone = np.clip(
        spot(0, 45, 40, 25) + spot(0, nose[1] + 8, 14, 26) + 0.6 * spot(0, mouth[1] - 28, 16, 10), 0, 1
    )
    wet = (eyes | (head.part >= 3) | inside).astype(float)
    specular, roughness = np.zeros((size, count)), np.zeros((size, count))
    specular[0] = logit(SPECULAR_MEAN / 0.08) + lift(0.033) * lips + lift(0.032) * zone + lift(0.033) * wet
    specular[0] += lift(0.02) * np.maximum(growth["brow"], growth["scalp"])
    roughness[0] = logit((ROUGHNESS_MEAN - 0.1) / 0.9) + rough(0.38) * lips + rough(0.43) * zone
    roughness[0] = np.where(eyes, logit((0.17 - 0.1) / 0.9), roughness[0])
    roughness[0] = np.where((head.part >= 3) | inside, logit((0.28 - 0.1) / 0.9), roughness[0])
    dry = 1 - wet
    specular[index["gloss"]] = 0.15 * dry
    specular[index["shine"]], roughness[index["shine"]] = 0.15 * zone * dry, -0.25 * zone * dry
    specular[index["lip_gloss"]], roughness[index["lip_gloss"]] = 0.15 * lips, -0.35 * lips
    roughness[index["roughness"]] = 0.28 * dry
    polynomial, _ = fitted_polynomial()
    return Appearance(
        names,
        melanin,
        blood,
        hair_cover,
        hair,
        hair_colour,
        undertone,
        other,
        skin,
        specular,
        roughness,
        polynomial,
    )
