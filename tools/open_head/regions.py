"""Where things are on the head: soft fields in [0, 1] and named regions, from masks and from the mean shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .eyeball import CORNEA_EDGE, IRIS_EDGE, RADIUS
from .source import RawData
from .topology import Head

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SOCKET_RADIUS = 19.5  # mm around an eyeball's centre


def smooth_step(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high` (or the reverse when low > high), smooth between."""
    way = np.clip((value - low) / (high - low), 0, 1)
    return way * way * (3 - 2 * way)


@dataclass(frozen=True)
class Places:
    """The mean head's vertices in a frame of its own face, and MakeHuman's masks. All [V], symmetric."""

    side: Array  # mm from the midline, not negative
    up: Array  # mm above the eyes' centres
    front: Array  # mm in front of the eyes' centres
    lips: Array
    eyelids: Array
    ears: Array
    face: Array
    mouth_inside: Array
    socket: Array  # the skin of the eye socket, behind the lids
    eye_gap: Array  # mm from the nearer eyeball's surface
    nose_tip: Array  # [3] side, up, front
    mouth: Array  # [3] side, up, front, where the lips meet


def find_places(raw: RawData, head: Head, positions: Array, normals: Array) -> Places:
    """The frame and the masks on the mean head's fine vertices [V, 3]."""

    def spread(name: str) -> Array:
        values = np.where(head.control_raw >= 0, raw.mask(name)[head.control_raw], 0)
        fine = head.refine @ np.where(head.control_part == 0, values, 0)
        return np.clip((fine + fine[head.mirror]) / 2, 0, 1)

    masks = {name: spread(name) for name in ("lips", "eyelids", "ears", "face", "inside-mouth")}
    skin = head.part == 0
    socket = np.zeros(len(positions))
    centres = []
    for name in ("left_eye", "right_eye"):
        ball = positions[head.of_part(name)]
        centre = ball[np.nan_to_num(head.eye_angle[head.of_part(name)]) == 90].mean(0)
        centres.append(centre)
        away = positions - centre
        distance = np.linalg.norm(away, axis=1)
        inward = -(away * normals).sum(1) / np.maximum(distance, 1e-9)
        socket += (
            skin * smooth_step(inward, 0.55, 0.8) * smooth_step(distance, SOCKET_RADIUS, SOCKET_RADIUS - 1)
        )
    middle = np.mean(centres, 0)
    side, up, front = abs(positions[:, 0]), positions[:, 1] - middle[1], positions[:, 2] - middle[2]
    outer = np.flatnonzero(skin & (head.mirror == np.arange(len(positions))) & (masks["inside-mouth"] < 0.5))
    eye_gap = np.linalg.norm(np.stack([side - abs(centres[0][0]), up, front], 1), axis=1) - RADIUS
    tip = outer[front[outer].argmax()]
    on_lips = outer[masks["lips"][outer] > 0.5]
    return Places(
        side, up, front,
        masks["lips"], masks["eyelids"], masks["ears"], masks["face"], masks["inside-mouth"],
        np.clip((socket + socket[head.mirror]) / 2, 0, 1),
        eye_gap,
        np.array([side[tip], up[tip], front[tip]]),
        np.array([0.0, up[on_lips].mean(), front[on_lips].mean()]),
    )  # fmt: skip


def brow_field(places: Places) -> Array:
    """How densely brow hair grows, 0 to 1: a band along an arch that thins out towards the temple."""
    inner, outer = 10.0, 56.0
    way = np.clip((places.side - inner) / (outer - inner), 0, 1)
    centre = 15.5 + 8.0 * np.sin(np.pi * 0.62 * way**0.9) - 3.0 * way**3
    half_width = 4.9 * (1 - 0.62 * way**1.5)
    band = np.exp(-(np.abs((places.up - centre) / half_width) ** 3))
    ends = smooth_step(places.side, inner - 2.5, inner + 5) * smooth_step(places.side, outer + 3, outer - 8)
    return band * ends * (places.front > -20) * (places.face > 0.2) * (1 - places.socket)


def lash_field(places: Places) -> Array:
    """How dark the lashes make the lids' edges, 0 to 1: the upper one more than the lower one."""
    edge = smooth_step(places.eye_gap, 2.6, 0.9) * smooth_step(places.eyelids, 0.3, 0.8)
    seen = smooth_step(places.front, 6, 10) * (1 - smooth_step(places.socket, 0.3, 0.7))
    return edge * seen * np.where(places.up > -2.5, 1.0, 0.35)


def beard_field(places: Places) -> Array:
    """How densely a beard can grow, 0 to 1: upper lip, chin, jaw and sides below the cheekbone."""
    mouth_up, nose_up = places.mouth[1], places.nose_tip[1]
    top = nose_up - 9 + 26 * smooth_step(places.side, 27, 73)
    below = smooth_step(places.up, top + 5, top - 7)
    under = smooth_step(places.up, mouth_up - 84, mouth_up - 56)
    jaw = smooth_step(places.front, -81, -60)
    philtrum = 1 - 0.5 * np.exp(-((places.side / 4) ** 2)) * (places.up > mouth_up)
    free = (1 - smooth_step(places.lips, 0.1, 0.6)) * (1 - places.ears) * (1 - places.mouth_inside)
    return below * under * jaw * philtrum * free


def scalp_field(places: Places) -> Array:
    """How much of the head's hair starts here, 0 to 1, with a soft hairline."""
    hairline = 67 - 9 * smooth_step(places.side, 20, 54) - 65 * smooth_step(places.front, -22, -67)
    above = smooth_step(places.up, hairline - 8, hairline + 10)
    nape = smooth_step(places.up, -92, -55)
    behind = smooth_step(places.front, -84, -97) * nape
    return np.maximum(above, behind) * (1 - smooth_step(places.ears, 0.1, 0.5))


def named_regions(head: Head, places: Places) -> dict[str, Mask]:
    """Regions [V] by name; each is its own mirror image."""
    skin = head.part == 0
    inside = places.mouth_inside > 0.5
    socket = places.socket > 0.5
    outside = skin & ~inside & ~socket
    ears = outside & (places.ears > 0.5)
    lips = outside & (places.lips > 0.5)
    eyes = ~np.isnan(head.eye_angle)
    angle = np.nan_to_num(head.eye_angle)
    mouth_up, nose = places.mouth[1], places.nose_tip
    face = outside & (places.face > 0.5) & ~ears
    nose_width = np.clip(7.5 + 14 * smooth_step(places.up, 0, nose[1]), 0, 21.5)
    ridge = (places.side < nose_width) & (places.up < 2) & (places.up > nose[1] - 9)
    nose_mask = face & ridge & ~lips
    eyelids = outside & (places.eyelids > 0.3)
    cheek = (places.side > 22) & (places.side < 62) & (places.up < -16) & (places.up > mouth_up - 4)
    return {
        "skin": face & ~(eyelids & (places.socket > 0.1)),
        "face": face,
        "lips": lips,
        "brows": face & (brow_field(places) > 0.3),
        "eyes": eyes,
        "sclera": eyes & (angle > IRIS_EDGE),
        "iris": eyes & (angle <= IRIS_EDGE),
        "cornea": eyes & (angle <= CORNEA_EDGE),
        "eyelids": eyelids,
        "eye_sockets": skin & socket,
        "ears": ears,
        "nose": nose_mask,
        "cheeks": face & cheek & ~nose_mask & ~lips,
        "forehead": face & (places.up > 28) & (brow_field(places) <= 0.3),
        "chin": face & (places.up < mouth_up - 12) & (places.side < 26) & ~lips,
        "scalp": outside & ~ears & ~face & (places.up > -40),
        "neck": outside & ~ears & ~face & (places.up <= -40),
        "mouth": (skin & inside) | (head.part >= 3),
        "teeth": (head.part == 3) | (head.part == 4),
        "tongue": head.part == 5,
    }
