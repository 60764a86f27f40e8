"""Which pixels of a photo show the skin of the face, and are to be explained by the fit.

The outline comes from the landmarks, and what is skin in it from `nextface.preparation.skin_probability`. The
statistical model is fitted to skin inside the oval, which landmarks tell well. Maps are refined from all of
the head that is seen: eyes and mouth too, and skin beyond the oval.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from nextface.errors import PhotoError
from nextface.landmarks.points import Landmarks
from nextface.landmarks.zones import FaceZones, face_zones
from nextface.photos.image_file import decode_image
from nextface.photos.photo import Photo
from nextface.preparation.skin_probability import opened, skin_probabilities

WORKING_SIZE = 160.0  # pixels across the face at which the decision is made
FEWEST_CERTAIN = 30  # pixels of cheek and nose, below which there is no colour model
STRAND = 0.03  # half width, over the face's size, of forehead that may show between strands of hair
TRIMMED = 0.016  # of the face's size: how much of the rim goes, where skin mixes with hair, lids and background
STRAY = 0.02  # half width, over the face's size, of what counts as skin beyond the oval
FEATURE_SEEN = 0.5  # share of skin around an eye or the mouth, below which something hides it
SMALL_HOLE, BROW_HOLE, ISLAND = 0.006, 0.02, 0.01  # areas over that of the face


@dataclass(frozen=True)
class FaceRegion:
    """The face in a picture."""

    oval: np.ndarray  # [h, w] bool: inside the landmarks' outline, less eyes and the mouth's opening
    skin: np.ndarray  # [h, w] bool: what of it surely shows skin, with lips, brows and beard, less a rim
    visible: np.ndarray  # [h, w] bool: `skin`, eyes and mouth where they are seen, and skin beyond the oval
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
        return FaceRegion(zones.oval, zones.oval.copy(), zones.oval.copy(), 0.0 if zones.oval.any() else 1.0)
    scale = min(1.0, WORKING_SIZE / zones.size)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    to_small = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    small_zones = face_zones(landmarks.transformed(to_small), size[1], size[0])
    small = cv2.resize(srgb.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    known = cv2.resize(1 - clipped.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    in_face, anywhere = (
        cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        for part in skin_probabilities(small, known, small_zones)
    )
    skin = _tidied(in_face, zones)
    covered = 1 - float(skin.sum()) / max(float(zones.oval.sum()), 1.0)
    features = _features(skin, zones)
    certain = _trimmed(skin, zones)
    beyond = _trimmed(_beyond(anywhere, skin, zones) | features, zones)
    return FaceRegion(zones.oval, certain, certain | features | beyond, covered)


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
    wide = opened(tidy.astype(np.uint8), round(STRAND * zones.size)).astype(bool)
    tidy &= wide | ~zones.forehead
    for island in _pieces(tidy):
        if island.sum() < ISLAND * area:
            tidy &= ~island
    return tidy


def _trimmed(skin: np.ndarray, zones: FaceZones) -> np.ndarray:
    """The skin [h, w] bool without its rim: a pixel there is a mixture, and the outline is not known better."""
    inward = cv2.distanceTransform(skin.astype(np.uint8), cv2.DIST_L2, 5)
    return inward > TRIMMED * zones.size


def _features(skin: np.ndarray, zones: FaceZones) -> np.ndarray:
    """Eyes with their lids, and the mouth's opening, [h, w] bool: each where the skin around it is seen.

    Parameters
    ----------
    skin: [h, w] bool of the oval, with its rim.
    zones: of the same picture.
    """
    features = np.zeros_like(skin)
    reach = 2 * TRIMMED * zones.size
    for opening in _pieces(_without_holes(zones.oval) & ~zones.oval):
        away = cv2.distanceTransform((~opening).astype(np.uint8), cv2.DIST_L2, 5)
        around = (away > 0) & (away < reach)
        if skin[around].mean() > FEATURE_SEEN:
            features |= opening | (around & skin)
    return features


def _beyond(anywhere: np.ndarray, skin: np.ndarray, zones: FaceZones) -> np.ndarray:
    """The oval's skin and what goes on from it or lies beside it [h, w] bool: forehead, temples, ears, neck.

    Parameters
    ----------
    anywhere: [h, w] bool, what looks like skin inside the oval and outside.
    skin: [h, w] bool of the oval, with its rim.
    zones: of the same picture.
    """
    area = zones.size**2
    found = (anywhere & ~_without_holes(zones.oval)) | skin
    for hole in _pieces(~found & ~zones.oval & (_without_holes(found))):
        if hole.sum() < SMALL_HOLE * area:
            found |= hole
    found = opened(found.astype(np.uint8), round(STRAY * zones.size)).astype(bool)
    for island in _pieces(found):
        if island.sum() < ISLAND * area:
            found &= ~island
    return found


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """A mask [h, w] bool with all that it surrounds."""
    return np.asarray(ndimage.binary_fill_holes(mask))


def _pieces(mask: np.ndarray) -> list[np.ndarray]:
    """The connected pieces of a mask, each [h, w] bool."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    return [labels == number for number in range(1, count)]
