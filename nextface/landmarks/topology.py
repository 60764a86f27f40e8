"""Which landmark is what: the index groups of MediaPipe's 478 points and of the 68-point scheme.

"Left" and "right" are the subject's. A frontal face in a photo has its right eye on the picture's left.
MediaPipe's groups are the closed loops of its published FACE_LANDMARKS_* connection sets. The 68 points
are numbered as in the iBUG 300-W annotation (Sagonas et al. 2013), counted from 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topology:
    """Index groups of one landmark scheme; closed groups list their points in order around the loop."""

    count: int  # number of points P
    contour: tuple[int, ...]  # outline of the face: view-dependent points that slide over the surface
    right_eye: tuple[int, ...]  # closed ring of the lids
    left_eye: tuple[int, ...]  # closed ring of the lids
    right_brow: tuple[int, ...]
    left_brow: tuple[int, ...]
    lips_outer: tuple[int, ...]  # closed
    lips_inner: tuple[int, ...]  # closed; the mouth's opening
    right_iris: tuple[int, ...]  # centre first, then the ring; empty where the scheme has none
    left_iris: tuple[int, ...]
    nose: tuple[int, ...]  # bridge from top to tip, then the wings
    nose_base: int  # where the nose meets the upper lip
    chin: int  # the chin's lowest point, also one of `contour`
    contour_closed: bool  # whether `contour` goes all around (with the forehead) or from ear to ear
    mirror: tuple[int, ...] = ()  # each point's mirror image; empty where nothing asks for it


def _mirrored_mesh() -> tuple[int, ...]:
    """The mirror image of each of the 478 points.

    MediaPipe numbers the mesh so that the points 248 to 467 are the left ones, in the order of their partners
    on the right. The irises follow: the centre, then the ring, which starts on the subject's left in both.
    """
    midline = {0, 1, 2, 4, 5, 6, *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200}
    right, left = [point for point in range(248) if point not in midline], range(248, 468)
    irises = ((468, 473), (469, 476), (470, 475), (471, 474), (472, 477))
    partner = list(range(478))
    for one, other in (*zip(right, left, strict=True), *irises):
        partner[one], partner[other] = other, one
    return tuple(partner)


MEDIAPIPE = Topology(
    count=478,
    contour=(
        *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
        *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    ),
    right_eye=(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    left_eye=(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    right_brow=(46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
    left_brow=(276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
    lips_outer=(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    lips_inner=(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
    right_iris=(468, 469, 470, 471, 472),
    left_iris=(473, 474, 475, 476, 477),
    nose=(
        *(168, 6, 197, 195, 5, 4, 1, 19, 94, 2),
        *(98, 97, 326, 327, 294, 278, 344, 440, 275, 45, 220, 115, 48, 64),
    ),
    nose_base=2,
    chin=152,
    contour_closed=True,
    mirror=_mirrored_mesh(),
)

IBUG68 = Topology(
    count=68,
    contour=tuple(range(17)),
    right_eye=tuple(range(36, 42)),
    left_eye=tuple(range(42, 48)),
    right_brow=tuple(range(17, 22)),
    left_brow=tuple(range(22, 27)),
    lips_outer=tuple(range(48, 60)),
    lips_inner=tuple(range(60, 68)),
    right_iris=(),
    left_iris=(),
    nose=tuple(range(27, 36)),
    nose_base=33,
    chin=8,
    contour_closed=False,
)

TOPOLOGIES = {"mediapipe": MEDIAPIPE, "fan": IBUG68}
