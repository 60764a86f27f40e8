"""From a file to what the stages look at: decoded, cropped, with landmarks and the skin found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nextface.config import DEFAULTS, Config
from nextface.errors import ConfigError, FaceNotFoundError
from nextface.landmarks import Landmarks, face_box, face_width, read_landmarks, share_outside
from nextface.landmarks.detection import detect
from nextface.landmarks.detection.faces import SMALLEST_FACE, Detectors
from nextface.landmarks.detection.upright import turns_of
from nextface.photos.frame import Frame
from nextface.photos.lens import Lens
from nextface.photos.observation import Observation
from nextface.photos.photo import CroppedPhoto, Photo, crop_to_box, load_photo
from nextface.photos.shot import DetectedLandmarks, LensPrior, Shot, size_of_face
from nextface.preparation.face_region import face_region, read_mask
from nextface.scene.colour import srgb_to_linear
from nextface.scene.geometry import focal_pixels
from nextface.system.atomic import replacing

KNOWN_FOCAL_SPREAD = 0.03  # standard deviation of the logarithm of a focal length that EXIF tells
SAID_FOCAL_SPREAD = 0.25  # ... and of one that the settings tell
ASSUMED_FOCAL_SPREAD = 0.9  # ... and of one that nothing tells, of a picture that may have been cropped
MEASURED_FOCAL_SPREAD = 1e-3  # ... and of one that was calibrated
USUAL_DISTANCE = 1200.0  # mm, from the camera to the face; nextface.fitting.terms.portrait_prior tells why
FACE_SIZE = 150.0  # mm: what `size_of_face` is of people's landmarks seen from the front
FEWEST_PIXELS = 16  # of the face's skin, at the size at which the photo is processed
MOSTLY_OUTSIDE = 0.05  # share of the face outside the photo, from which on the user is warned
MOSTLY_COVERED = 0.15  # share of the face oval that is not skin, from which on the user is warned


def prepare(
    path: Path,
    config: Config,
    folder: Path,
    device: str,
    landmarks: Path | None = None,
    mask: Path | None = None,
    face: int | None = None,
    number: int = 0,
    searched: str = "searched.png",
    detectors: Detectors | None = None,
    lens: Lens | None = None,
) -> Shot:
    """Load a photo, find the face and its skin, and crop to it.

    Saves landmarks_i.png in `folder`, or a picture of what was searched if no face is found.

    Parameters
    ----------
    number: i, which photo of a person this is.
    searched: name of the picture of what was searched.
    detectors: those that have been started for other photos.
    lens: what took the photo, as calibrated; without it, the photo is taken for undistorted and centred. Given
        landmarks and masks are in pixels of the photo as it is.

    Raises
    ------
    PhotoError, FaceNotFoundError, MissingPartError, ConfigError: as loading, detection, and reading landmarks
        and masks do.
    """
    if landmarks is not None and face is not None:
        raise ConfigError(
            f"--face {face} chooses among the faces that are found; with --landmarks none is looked for. "
            "Leave one of the two out."
        )
    photo = load_photo(path, lens)
    notes: tuple[str, ...] = ()
    if landmarks is None:
        detection = detect(photo, config.landmarksDetectorType, face, folder / searched, detectors)
        found, notes, turns = detection.landmarks, detection.notes, detection.turns
    else:
        found = read_landmarks(landmarks)
        if photo.lens is not None:
            found = replace(found, points=photo.lens.undistorted(found.points))
        turns = turns_of(found)
        found = found.transformed(photo.to_turned(turns))
        if face_width(found) < SMALLEST_FACE:
            raise FaceNotFoundError(
                f"The face in {landmarks} is {face_width(found):.0f} pixels wide; "
                f"at least {SMALLEST_FACE} are needed."
            )
    if turns:
        notes += (f"The face in {path} {_LYING[turns]}, and so is every result.",)
    given = landmarks is not None
    return made_ready(photo, found, config, folder, device, mask, number, turns=turns, notes=notes, given=given)


def made_ready(
    photo: Photo,
    found: Landmarks,
    config: Config,
    folder: Path,
    device: str,
    mask: Path | None = None,
    number: int = 0,
    *,
    turns: int = 0,
    notes: tuple[str, ...] = (),
    given: bool = False,
) -> Shot:
    """A photo whose face is known, cropped to it, with its skin found.

    Saves landmarks_i.png in `folder`.

    Parameters
    ----------
    found: the face's landmarks, in pixels of the photo turned by `turns` right angles anticlockwise.
    mask, number: as for `prepare`.
    notes: what is known to be notable already.
    given: whether the landmarks come from a file.

    Raises
    ------
    PhotoError, FaceNotFoundError: as cropping, and reading the mask, do; and where no skin is recognised.
    """
    path = photo.path
    upright = photo.turned(turns)
    crop = crop_to_box(upright, face_box(found), config.maxResolution)
    points = found.transformed(crop.photo_to_image)
    region = face_region(crop.srgb, points, crop.clipped)
    chosen, visible = region.skin, region.visible
    if mask is not None:
        chosen = _cropped_mask(np.rot90(_read_mask(mask, photo), turns), upright, found, config)
    if photo.shown is not None:
        shown = _cropped_mask(np.rot90(photo.shown, turns), upright, found, config)
        chosen, visible = chosen & shown, visible & shown
    warnings = list(photo.warnings)
    outside = share_outside(found, upright.srgb.shape[1], upright.srgb.shape[0])
    if outside > MOSTLY_OUTSIDE:
        warnings.append(
            f"{outside:.0%} of the face lies outside the photo; that part comes from the face's other half "
            "and from the statistical model. A photo that shows all of the face gives more."
        )
    if mask is None and region.covered_fraction > MOSTLY_COVERED:
        warnings.append(
            f"{region.covered_fraction:.0%} of the face in the photo is covered or not recognised as skin; "
            "what is hidden is filled in from the statistical model. A mask with the skin painted white helps: "
            "--mask."
        )
    drawn = folder / f"landmarks_{number}.png"
    draw_landmarks(drawn, crop, points)
    if (chosen & region.oval).sum() < FEWEST_PIXELS:
        what = f"The mask {mask} has no white pixel on the face" if mask else f"No skin is recognised in {path}"
        raise FaceNotFoundError(
            f"{what}; {drawn} shows where it was looked for. "
            "Paint the skin of the face white in a mask and pass it with --mask, or check the landmarks."
        )
    height, width = crop.srgb.shape[:2]
    photo_to_image = crop.photo_to_image @ np.vstack([photo.to_turned(turns), [0, 0, 1]])
    lens = _lens(photo, config)
    matrix, _ = lens.in_crop(photo_to_image)
    observation = Observation(
        torch.from_numpy(crop.srgb).to(device),
        torch.from_numpy(np.ascontiguousarray(chosen)).to(device),
        torch.from_numpy(crop.clipped).to(device),
    )
    on_crop = torch.from_numpy(points.points).float().to(device)
    frame = Frame(
        width,
        height,
        torch.from_numpy(matrix[None, :2, 2]).float().to(device),
        photo_to_image,
        crop.thumbnail,
        matrix[1, 1] / matrix[0, 0],
        matrix[0, 1] / matrix[0, 0],
    )
    return Shot(
        observation,
        region.oval,
        DetectedLandmarks(found.detector, on_crop, dict(found.blendshapes), given),
        frame,
        lens_prior(float(matrix[0, 0]), focal_spread(photo, config), size_of_face(on_crop)),
        path,
        photo.taken,
        photo.camera,
        (upright.srgb.shape[1], upright.srgb.shape[0]),
        notes,
        tuple(warnings),
        lens,
        visible if mask is None else None,
    )


def _lens(photo: Photo, config: Config) -> Lens:
    """What took a photo: as calibrated, else centred and of the focal length that EXIF or the settings tell."""
    if photo.lens is not None:
        return photo.lens
    height, width = photo.srgb.shape[:2]
    focal = focal_pixels(photo.focal_35mm or config.focalLength35mm, width, height)
    return Lens.assumed(width, height, float(focal))


def lens_prior(focal: float, spread: float, face_size: float) -> LensPrior:
    """What is known of a focal length in pixels, where the face's landmarks have that size in pixels."""
    assumed = spread == ASSUMED_FOCAL_SPREAD
    return LensPrior(focal, spread, USUAL_DISTANCE * face_size / FACE_SIZE if assumed else None)


def focal_spread(photo: Photo, config: Config) -> float:
    """Standard deviation of the logarithm of a photo's focal length."""
    if photo.lens is not None and photo.lens.known:
        return MEASURED_FOCAL_SPREAD
    if photo.focal_35mm:
        return KNOWN_FOCAL_SPREAD
    return ASSUMED_FOCAL_SPREAD if config.focalLength35mm == DEFAULTS["focalLength35mm"] else SAID_FOCAL_SPREAD


def _read_mask(path: Path, photo: Photo) -> np.ndarray:
    """A mask [H, W] bool in the pixels of a photo, straightened with it."""
    mask = read_mask(path, photo)
    return mask if photo.lens is None else photo.lens.straightened_mask(mask)


_LYING = {
    1: "lies on its side: the photo is turned by a right angle, anticlockwise",
    2: "is upside down: the photo is turned",
    3: "lies on its side: the photo is turned by a right angle, clockwise",
}


def _cropped_mask(mask: np.ndarray, photo: Photo, landmarks: Landmarks, config: Config) -> np.ndarray:
    """A mask [H, W] bool of the photo in the crop's pixels: those that it covers for the most part."""
    as_photo = Photo(photo.path, np.repeat(mask[..., None], 3, 2).astype(np.float32), None)
    cropped = crop_to_box(as_photo, face_box(landmarks), config.maxResolution)
    return srgb_to_linear(cropped.srgb[..., 0]) > 0.5


def draw_landmarks(path: Path, crop: CroppedPhoto, landmarks: Landmarks) -> None:
    """Save the crop, enlarged, with its landmarks as dots."""
    from PIL import Image, ImageDraw

    enlarge = max(1, 768 // max(crop.srgb.shape[:2]))
    picture = Image.fromarray(np.round(crop.srgb * 255).astype(np.uint8))
    picture = picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for x, y in landmarks.points * enlarge:
        draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(40, 255, 80))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
