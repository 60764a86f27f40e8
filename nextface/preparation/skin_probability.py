"""How likely each pixel of a photo shows the skin of the face, by its colour, its place and its roughness.

A model of this photo's skin is learned from cheeks and nose and extended to the colours that it takes in
shadow and in highlights, a model of everything else is learned around the face, and both are learned again
from their own result. On the forehead and beyond the face, roughness tells strands of hair. A random walk over
the picture with all this as prior (Grady, "Multilabel random walker image segmentation using prior models",
2005) settles what is left open. A hand of the face's own colour is not told apart.
"""

from __future__ import annotations

import cv2
import numpy as np

from nextface.landmarks.zones import FaceZones
from nextface.preparation.colour_density import ColourDensity, without_dark
from nextface.preparation.random_walk import random_walk

ROUNDS = 3  # of learning the two colour models
UNKNOWN = 0.1  # how likely a colour that neither model knows is skin, against something else
SMOOTHEST_SKIN = 0.015  # in log2 of lightness: skin in retouched photos can be smoother than its rims
TEXTURE_WEIGHT = 4.0  # log odds against skin per doubling of roughness, beyond twice that of the cheeks
REACH = 0.6  # of the face's size: how far beyond its outline skin is looked for
BEYOND = 0.5  # log odds against skin beyond the oval


def skin_probabilities(srgb: np.ndarray, known: np.ndarray, zones: FaceZones) -> tuple[np.ndarray, np.ndarray]:
    """How likely each pixel [h, w] shows skin: in the face and a rim around it, and as far as a head may reach.

    Both are 0 elsewhere. The second does not know where in a picture faces usually are.

    Parameters
    ----------
    srgb: [h, w, 3] float32.
    known: [h, w], the share of each pixel that is not clipped.
    zones: of the same picture.
    """
    lab = cv2.cvtColor(srgb, cv2.COLOR_RGB2LAB)
    distance = cv2.distanceTransform((~zones.outline).astype(np.uint8), cv2.DIST_L2, 5)
    around = distance < 0.3 * zones.size
    shaded = ColourDensity.of_lit_skin(without_dark(srgb[zones.certain]))
    unlike = shaded.at(lab) < 5 * ColourDensity.UNIFORM
    skin, other = shaded, ColourDensity.of(lab[around & ~zones.outline & unlike])
    place = _place_odds(lab, zones) + np.where(zones.forehead, _texture_odds(lab[..., 0], zones), 0.0)
    for _ in range(ROUNDS):
        colour = _colour_odds(lab, known, skin, other)
        probability = random_walk(lab, 1 / (1 + np.exp(-colour - place)), around)
        skin = shaded.mixed(ColourDensity.of(lab[zones.oval & (probability > 0.7)]), 0.7)
        other = ColourDensity.of(lab[around & (probability < 0.3)])
    odds = _colour_odds(lab, known, skin, other) + _texture_odds(lab[..., 0], zones) - BEYOND
    prior = np.where(zones.oval, probability, 1 / (1 + np.exp(-odds)))
    return probability, random_walk(lab, prior, distance < REACH * zones.size)


def _colour_odds(lab: np.ndarray, known: np.ndarray, skin: ColourDensity, other: ColourDensity) -> np.ndarray:
    """Log odds [h, w] of skin by colour; a blown-out colour is no evidence against it."""
    for_skin = skin.at(lab) + UNKNOWN * ColourDensity.UNIFORM
    against = 0.7 * other.at(lab) + 0.3 * ColourDensity.UNIFORM
    odds = np.log(for_skin / against).clip(-4, 4)
    return np.where(odds < 0, known * odds, odds)


def _place_odds(lab: np.ndarray, zones: FaceZones) -> np.ndarray:
    """Log odds [h, w] of skin by place: the middle of the face is rarely covered, its rim often.

    Below the nose, what is darker than the cheeks and neither green nor blue is taken to be a beard.
    """
    depth = cv2.distanceTransform(zones.outline.astype(np.uint8), cv2.DIST_L2, 5) / zones.size
    odds = np.interp(depth, (0, 0.05, 0.25), (-0.5, 0.0, 1.5))
    lightness, green_red, blue_yellow = lab[..., 0], lab[..., 1], lab[..., 2]
    is_dark = lightness < np.median(lightness[zones.certain])
    beard = zones.lower & is_dark & (green_red > -6) & (blue_yellow > -10)
    return odds + np.where(beard, np.interp(depth, (0, 0.03, 0.08), (0.0, 2.0, 5.0)), 0.0)


def _texture_odds(lightness: np.ndarray, zones: FaceZones) -> np.ndarray:
    """Log odds [h, w] of skin by roughness, of which strands of hair have more than cheeks.

    An opening of the roughness lets edges count only where they lie densely.
    """
    logarithm = np.log2(lightness + 8)  # so that shade does not count; the offset calms noise in the dark
    detail = logarithm - cv2.GaussianBlur(logarithm, (0, 0), 1.5)
    roughness = opened(np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 2.0)), 4)
    ordinary = max(float(np.median(roughness[zones.certain])), SMOOTHEST_SKIN)
    excess = np.log2(np.maximum(roughness, 1e-6) / (2 * ordinary)).clip(0, 2)
    return -TEXTURE_WEIGHT * excess


def opened(picture: np.ndarray, radius: int) -> np.ndarray:
    """The morphological opening of a picture [h, w] by a disc: bright parts narrower than it go."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.morphologyEx(picture, cv2.MORPH_OPEN, disc)
