"""What photos of one person have in common, as far as their files and faces tell.

Photos of one camera at one zoom have one focal length. EXIF data name camera and zoom. Where they are gone, two
photos look like one camera's if they are of the same size in pixels and show the face at about the same size:
then the same camera stood where it stood before, as it does between two photos of a sitting. A selfie and a
portrait, or two crops, differ in one or the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from nextface.photos.shot import Shot

SAME_FACE_SIZE = 1.15  # ratio of two faces' sizes, in pixels of their photos, up to which they look alike


@dataclass(frozen=True)
class Circumstances:
    """What a photo has in common with others; where nothing is known, it has nothing."""

    session: Hashable | None = None
    moment: Hashable | None = None
    camera: Hashable | None = None  # with one focal length
    focal: float = 1.0  # pixels: what is assumed; cameras' photos differ in it as they were cropped and reduced


def circumstances_of(shots: Sequence[Shot]) -> list[Circumstances]:
    """Of photos of one person, as far as they tell."""
    return [
        Circumstances(moment=shot.taken, camera=camera, focal=shot.lens.focal)
        for shot, camera in zip(shots, cameras_of(shots), strict=True)
    ]


def cameras_of(shots: Sequence[Shot]) -> list[Hashable | None]:
    """For each photo which camera took it at which zoom: equal where they are one; None where nothing tells."""
    labels: list[Hashable | None] = []
    for number, shot in enumerate(shots):
        if shot.camera is not None:
            labels.append(shot.camera if shot.camera.focal_length else None)
            continue
        alike = (other for other, earlier in enumerate(shots[:number]) if _look_alike(shot, earlier))
        labels.append(labels[first] if (first := next(alike, None)) is not None else f"like photo {number}")
    return labels


def _look_alike(shot: Shot, other: Shot) -> bool:
    """Whether two photos, of which no EXIF data tell the camera, may be one camera's at one zoom."""
    if other.camera is not None or shot.photo_size is None or shot.photo_size != other.photo_size:
        return False
    if shot.lens.spread != other.lens.spread:  # one's focal length is known, the other's is not
        return False
    larger, smaller = sorted((one.photo_face_size for one in (shot, other)), reverse=True)
    return larger < SAME_FACE_SIZE * smaller
