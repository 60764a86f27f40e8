"""Which pixels of a photo show the skin of the face, and are to be explained by the fit.

The outline comes from the landmarks. Inside it, hair, glasses and whatever else hides the skin are told
apart by colour: a model of this photo's skin is learned from cheeks and nose and extended to the colours
that it takes in shadow and in highlights, a model of everything else is learned around the face, and both
are learned again from their own result. On the forehead, roughness tells strands of hair. A random walk over
the picture with all this as prior (Grady, "Multilabel random walker image segmentation using prior models",
2005) settles what is left open. A hand of the face's own colour is not told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nextface.errors import PhotoError
from nextface.landmarks.points import Landmarks
from nextface.landmarks.zones import FaceZones, face_zones
from nextface.photos.image_file import decode_image
from nextface.photos.photo import Photo
from nextface.preparation.colour_density import ColourDensity, without_dark
from nextface.preparation.random_walk import random_walk

WORKING_SIZE = 160.0  # pixels across the face at which the decision is made
FEWEST_CERTAIN = 30  # pixels of cheek and nose, below which there is no colour model
ROUNDS = 3  # of learning the two colour models
UNKNOWN = 0.1  # how likely a colour that neither model knows is skin, against something else
SMOOTHEST_SKIN = 0.015  # in log2 of lightness: skin in retouched photos can be smoother than its rims
TEXTURE_WEIGHT = 4.0  # log odds against skin per doubling of roughness, beyond twice that of the cheeks
STRAND = 0.03  # half width, over the face's size, of forehead that may show between strands of hair
TRIMMED = 0.016  # of the face's size: how much of the rim goes, where skin mixes with hair, lids and background
SMALL_HOLE, BROW_HOLE, ISLAND = 0.006, 0.02, 0.01  # areas over that of the face


@dataclass(frozen=True)
class FaceRegion:
    """The face in a picture."""

    oval: np.ndarray  # [h, w] bool: inside the landmarks' outline, less eyes and the mouth's opening
    skin: np.ndarray  # [h, w] bool: what of it surely shows skin, with lips, brows and beard, less a rim
    covered_fraction: float  # the share of the oval that hair, glasses or something else covers


def face_region(srgb: np.ndarray, landmarks: Landmarks, clipped: np.ndarray) -> FaceRegion:
    """The face's outline, and the skin in it.

    Parameters
    ----------
    srgb: [h, w, 3] in [0, 1], sRGB-encoded.
    landmarks: the face's, in pixels of `srgb`.
    clipped: [h, w] bool, pixels whose colour is not known because a channel is clipped.
    """
    height, width = srgb.shape[:2]
    zones = face_zones(landmarks, height, width)
    if zones.certain.sum() < FEWEST_CERTAIN:
        return FaceRegion(zones.oval, zones.oval.copy(), 0.0 if zones.oval.any() else 1.0)
    scale = min(1.0, WORKING_SIZE / zones.size)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    to_small = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    small_zones = face_zones(landmarks.transformed(to_small), size[1], size[0])
    small = cv2.resize(srgb.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    known = cv2.resize(1 - clipped.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    probability = _skin_probability(small, known, small_zones)
    enlarged = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    skin = _tidied(enlarged > 0.5, zones)
    covered = 1 - float(skin.sum()) / max(float(zones.oval.sum()), 1.0)
    return FaceRegion(zones.oval, _trimmed(skin, zones), covered)


def read_mask(path: Path | str, photo: Photo) -> np.ndarray:
    """The pixels [H, W] bool of the photo that a mask picture of the same size marks as usable (white).

    Raises
    ------
    PhotoError: the mask cannot be read, has another size than the upright photo, or is all black.
    """
    path = Path(path)
    mask = decode_image(path, "mask", matte=0.0).srgb.mean(-1) >= 0.5  # what is transparent is not marked
    if mask.shape != photo.srgb.shape[:2]:
        raise PhotoError(
            f"The mask {path} has {mask.shape[1]} x {mask.shape[0]} pixels and the upright photo {photo.path} "
            f"{photo.srgb.shape[1]} x {photo.srgb.shape[0]}. Save the mask at the photo's size."
        )
    if not mask.any():
        raise PhotoError(f"The mask {path} is all black. Paint the pixels to use white (255).")
    return mask


def _skin_probability(srgb: np.ndarray, known: np.ndarray, zones: FaceZones) -> np.ndarray:
    """How likely each pixel [h, w] shows skin, in the face and in a rim around it; 0 elsewhere.

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
    place = _place_odds(lab, zones) + _texture_odds(lab[..., 0], zones)
    for _ in range(ROUNDS):
        for_skin = skin.at(lab) + UNKNOWN * ColourDensity.UNIFORM
        against = 0.7 * other.at(lab) + 0.3 * ColourDensity.UNIFORM
        colour = np.log(for_skin / against).clip(-4, 4)
        colour = np.where(colour < 0, known * colour, colour)  # a blown-out colour is no evidence against skin
        probability = random_walk(lab, 1 / (1 + np.exp(-colour - place)), around)
        skin = shaded.mixed(ColourDensity.of(lab[zones.oval & (probability > 0.7)]), 0.7)
        other = ColourDensity.of(lab[around & (probability < 0.3)])
    return probability


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
    """Log odds [h, w] of skin on the forehead by roughness, of which strands of hair have more than cheeks.

    An opening of the roughness lets edges count only where they lie densely.
    """
    logarithm = np.log2(lightness + 8)  # so that shade does not count; the offset calms noise in the dark
    detail = logarithm - cv2.GaussianBlur(logarithm, (0, 0), 1.5)
    roughness = _opened(np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), 2.0)), 4)
    ordinary = max(float(np.median(roughness[zones.certain])), SMOOTHEST_SKIN)
    excess = np.log2(np.maximum(roughness, 1e-6) / (2 * ordinary)).clip(0, 2)
    return np.where(zones.forehead, -TEXTURE_WEIGHT * excess, 0.0)


def _tidied(skin: np.ndarray, zones: FaceZones) -> np.ndarray:
    """The skin of the oval, [h, w] bool, tidied by what is known of faces.

    Brows and small holes (nostrils, moles) are filled; slits between strands of hair and small islands go.

    Parameters
    ----------
    skin: [h, w] bool, told inside the eyes too, so that glasses over an eye are one piece.
    zones: of the same picture.
    """
    area = zones.size**2
    tidy = skin & zones.oval
    depth = cv2.distanceTransform(zones.outline.astype(np.uint8), cv2.DIST_L2, 5)
    rim = depth < 0.03 * zones.size
    for hole in _pieces((zones.oval | zones.eyes) & ~skin):
        is_brow = (hole & (zones.brows | zones.eyes)).sum() > 0.6 * hole.sum()
        largest = (BROW_HOLE if is_brow else SMALL_HOLE) * area
        if (hole & zones.oval).sum() < largest and not (hole & rim).any():
            tidy |= hole & zones.oval
    wide = _opened(tidy.astype(np.uint8), round(STRAND * zones.size)).astype(bool)
    tidy &= wide | ~zones.forehead
    for island in _pieces(tidy):
        if island.sum() < ISLAND * area:
            tidy &= ~island
    return tidy


def _trimmed(skin: np.ndarray, zones: FaceZones) -> np.ndarray:
    """The skin [h, w] bool without its rim: a pixel there is a mixture, and the outline is not known better."""
    inward = cv2.distanceTransform(skin.astype(np.uint8), cv2.DIST_L2, 5)
    return inward > TRIMMED * zones.size


def _opened(picture: np.ndarray, radius: int) -> np.ndarray:
    """The morphological opening of a picture [h, w] by a disc: bright parts narrower than it go."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.morphologyEx(picture, cv2.MORPH_OPEN, disc)


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """The connected pieces of a mask, each [h, w] bool."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [labels == number for number in range(1, count)]
