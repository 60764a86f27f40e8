"""A case's head in front of a camera: pose, picture, sensor and file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.ground_truth.cases import Case
from benchmarks.ground_truth.drawing import Sightings, Studio, Surface
from benchmarks.ground_truth.heads import INSIDE, SKIN, Head, turned
from benchmarks.ground_truth.lights import environment, relighting_environments
from benchmarks.ground_truth.points import detected, seen
from benchmarks.ground_truth.record import GroundTruth
from benchmarks.ground_truth.skin import Paint, paint
from nextface.landmarks import MEDIAPIPE
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import focal_pixels

Array = NDArray[np.float64]

EXPOSURE = 0.7  # what a white, matte card shows under uniform light that meters 1
SAMPLES = 144, 64  # light paths a pixel of photos and relit pictures; multi-jittered ones count about ten times
YAW, PITCH, ROLL = 35.0, 12.0, 8.0  # degrees, at most
FOCAL_35MM = (35.0, 100.0)
FILLED = (0.40, 0.65)  # of the picture's height, by the face from forehead to chin
FOREHEAD = 10  # MediaPipe's point at the top of the face
SKIN_F0, WET_F0, CLOTH_F0 = 0.028, 0.04, 0.03
MIN_FACING = 0.15  # n.v from which on skin counts as visible
COVERED = 0.999  # of a pixel, from which on all of it counts as covered
MAX_HAIR = 0.3  # of the scalp, up to which skin counts as bare
JPEG_QUALITY = (88, 95)


@dataclass(frozen=True)
class View:
    """Where the head is, and what the camera does."""

    rotation: Array  # [3, 3], model to camera
    centre: Array  # [3] mm, model-space point that is placed
    position: Array  # [3] mm, where it is placed in the camera frame
    focal: float  # pixels

    def place(self, vertices: Array) -> Array:
        """Model-space vertices [V, 3] in the camera frame."""
        return (vertices - self.centre) @ self.rotation.T + self.position


def random_view(landmarks: Array, size: int, random: np.random.Generator) -> View:
    """A random view of a head with landmarks [478, 3] in model space, for a picture of size x size pixels."""
    yaw, pitch, roll = (random.uniform(-most, most) for most in (YAW, PITCH, ROLL))
    focal = float(focal_pixels(random.uniform(*FOCAL_35MM), size, size))
    top, chin = landmarks[FOREHEAD], landmarks[MEDIAPIPE.chin]
    depth = focal * np.linalg.norm(top - chin) / (random.uniform(*FILLED) * size)
    aside = random.uniform(-0.06, 0.06, 2) * size * depth / focal
    return View(turned(yaw, pitch, roll).as_matrix(), (top + chin) / 2, np.array([*aside, depth]), focal)


def photograph(
    case: Case,
    head: Head,
    template: Array,
    folder: Path,
    size: int,
    samples: tuple[int, int] = SAMPLES,
    relights: Sequence[Array] | None = None,
) -> GroundTruth:
    """Photograph a head, and write its JPEG and its record into a folder.

    Parameters
    ----------
    case: tone, light and seeds.
    head: the surface.
    template: MediaPipe's 478 points on the average head of the head's source, [478, 3] mm.
    folder: where the files go.
    size: pixels of the photo's sides.
    samples: light paths a pixel of the photo and of relit pictures, squares.
    relights: environments of the relit pictures, by default `relighting_environments`.
    """
    random = np.random.default_rng(case.view_seed)
    look = paint(head, template, case.tone, case.head_seed)
    points = detected(head.neutral, head, look.colour, look.roughness)
    view = random_view(points.at(head.neutral), size, random)
    placed = view.place(head.expressed)

    soft = (head.part <= INSIDE)[head.triangles].all(1)
    skin = Surface(placed, head.triangles[soft], look.colour, look.roughness, SKIN_F0 / 0.08)
    wet = Surface(placed, head.triangles[~soft], look.colour, look.roughness, WET_F0 / 0.08)
    studio = Studio([skin, wet, _clothes(head, view, random)], view.focal, size)
    light = environment(case.light, case.light_seed)
    image = studio.radiance(light, samples[0], case.view_seed)
    relit = [
        studio.radiance(other, samples[1], case.view_seed + 10_000 * (1 + number))[..., :3]
        for number, other in enumerate(relighting_environments() if relights is None else relights)
    ]
    sightings = studio.sightings(case.view_seed)
    quality = int(random.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1))
    backdrop = _backdrop(size, random)
    exposed = EXPOSURE * image[..., :3] + (1 - image[..., 3:]) * backdrop
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / f"{case.name}.jpg"
    develop(sensed(exposed, random)).save(photo, quality=quality, subsampling="4:2:0")
    tip = placed[np.flatnonzero(head.part == SKIN)[head.neutral[head.part == SKIN][:, 2].argmax()]]
    record = GroundTruth(
        name=case.name,
        heads=case.heads,
        tone=case.tone,
        reported=case.reported,
        photo=photo,
        vertices=placed.astype(np.float32),
        triangles=head.triangles.astype(np.int32),
        skin=head.part == SKIN,
        nose_tip=tip,
        landmarks=seen(points, head, placed, studio),
        intrinsics=studio.intrinsics,
        radiance=image[..., :3],
        exposure=EXPOSURE,
        coverage=image[..., 3],
        visible_skin=_bare_skin(head, look, sightings, skin) & (image[..., 3] > COVERED),
        albedo=studio.albedo(sightings),
        environment=light,
        relit=np.stack(relit),
    )
    record.save(folder)
    return record


def _bare_skin(head: Head, look: Paint, sightings: Sightings, skin: Surface) -> NDArray[np.bool_]:
    """Pixels [h, w] all of whose rays meet outer skin without scalp hair, and not at a grazing angle."""
    kind = np.stack([head.part != SKIN, look.scalp_hair > MAX_HAIR], 1).astype(float)
    other = sightings.of(0, skin.triangles, kind).max(-1) > 0.5
    return ((sightings.surface == 0) & ~other & (sightings.facing > MIN_FACING)).all(-1)


def sensed(exposed: Array, random: np.random.Generator) -> Array:
    """What a sensor makes of linear values [h, w, 3]: photon noise and read noise, then clipping at 1.

    Variances are `gain * value + read^2`, from a phone's in daylight to its indoors.
    """
    gain, read = 10 ** random.uniform(-4.0, -3.0), random.uniform(0.001, 0.003)
    noise = random.normal(size=exposed.shape) * np.sqrt(gain * exposed + read**2)
    return np.clip(exposed + noise, 0, 1)


def develop(linear: Array) -> Image.Image:
    """The picture of linear values [h, w, 3] in [0, 1], sRGB-encoded with 8 bits."""
    return Image.fromarray(np.round(np.asarray(linear_to_srgb(linear)) * 255).astype(np.uint8))


def _backdrop(size: int, random: np.random.Generator) -> Array:
    """A plain wall with a gradient, or something out of focus, in the photo's linear values [h, w, 3]."""
    colour = random.uniform(0.04, 0.30) * random.uniform(0.8, 1.2, 3)
    row, column = np.indices((size, size)) / size - 0.5
    slope = random.uniform(-0.6, 0.6, 2)
    wall = (1 + slope[0] * row + slope[1] * column)[..., None] * colour
    if random.uniform() < 0.5:
        grains = random.normal(size=(size, size, 1)) + 0.3 * random.normal(size=(size, size, 3))
        blur = gaussian_filter(grains, (size / 14, size / 14, 0), mode="wrap")
        wall = wall * np.exp(0.5 * blur / blur.std())
    return wall


def _clothes(head: Head, view: View, random: np.random.Generator) -> Surface:
    """Shoulders in matte cloth under the neck's end: half an ellipsoid that turns with the head."""
    skin = head.neutral[head.part == SKIN]
    low = skin[:, 1].min()
    end = skin[skin[:, 1] < low + 30]
    radii = np.array([225.0, 130.0, 130.0])
    centre = np.array([0.0, low + 45 - radii[1], (end[:, 2].min() + end[:, 2].max()) / 2])
    rings, around = 40, 96
    polar, azimuth = np.meshgrid(
        np.linspace(0.02, np.pi / 2, rings), np.arange(around) * 2 * np.pi / around, indexing="ij"
    )
    ball = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    number = np.arange(rings * around).reshape(rings, around)
    here, aside = number[:-1], np.roll(number, -1, 1)[:-1]
    below, opposite = number[1:], np.roll(number, -1, 1)[1:]
    quads = np.stack([here, below, opposite, aside], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    count = rings * around
    colour = np.tile(random.uniform(0.02, 0.25) * random.uniform(0.6, 1.4, 3), (count, 1))
    placed = view.place(centre + ball.reshape(-1, 3) * radii)
    return Surface(placed, triangles, colour, np.full(count, 0.9), CLOTH_F0 / 0.08)
