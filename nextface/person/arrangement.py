"""How the cameras of a run's photos stand: each by itself, or beside each other at one moment.

At one moment the head has one pose in the rig's frame, one expression, and the world one light. Where the
cameras' places are unknown, the pose is each photo's own, and the places follow from it (`settled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nextface.cameras.view import Place
from nextface.errors import CameraError
from nextface.person.reconstruction import Reconstruction
from nextface.person.sharing import SHARED_IDENTITY, SharingTable
from nextface.photos.shot import Shot
from nextface.scene import Rig
from nextface.scene.geometry import pose_of

MOMENT: SharingTable = {  # one person at one moment, seen by cameras whose places are known
    **SHARED_IDENTITY,
    "expression": "moment",
    "rotation": "moment",
    "translation": "moment",
    "light": "moment",
}
OWN_POSES: SharingTable = {**MOMENT, "rotation": "photo", "translation": "photo"}  # places are unknown
MOST_UNLIKE = (
    20.0  # degrees by which a head may seem turned otherwise from the cameras' places; landmarks err by 5
)
SCALES = (0.7, 1.4)  # of places in mm, as heads tell it: heads differ by a tenth
SHORTEST_BASELINE = 0.03  # of the distance to the head: shorter ones do not tell the unit


@dataclass(frozen=True)
class Arrangement:
    """Who shares what, and where the cameras stand."""

    table: SharingTable = field(default_factory=lambda: SHARED_IDENTITY)
    rig: Rig | None = None  # a camera for each photo; None: photos of different moments
    light_of_world: bool = False

    @property
    def measured(self) -> bool:
        """Whether all places are known."""
        return self.rig is not None and all(self.rig.known)


SEPARATE = Arrangement()


def beside_each_other(
    shots: Sequence[Shot], places: Sequence[Place | None], unit: float | None, own_light: bool
) -> Arrangement:
    """The arrangement of photos of one moment.

    Parameters
    ----------
    places: of the photos' cameras, as their file says; if one is missing, all are found from the face.
    unit: millimetres in the places' unit; None: not known.
    own_light: whether each photo has a light of its own, as flashes give.
    """
    table = MOMENT if all(place is not None for place in places) else OWN_POSES
    if own_light:
        table = {**table, "light": "photo"}
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        nowhere = torch.zeros(len(shots), 3)
        rig = Rig(nowhere, nowhere, (True, *[False] * (len(shots) - 1)))
        return Arrangement(table, rig, not own_light)
    standing = []
    for shot, place in zip(shots, known, strict=True):
        assert shot.optics is not None, "photos are prepared with their lenses"
        standing.append(place.scaled(unit or 1.0).turned(shot.optics.in_crop(shot.frame.photo_to_image)[1]))
    first = standing[0]
    turns = [place.rotation @ first.rotation.T for place in standing]
    shifts = [place.translation - turn @ first.translation for place, turn in zip(standing, turns, strict=True)]
    rig = Rig(
        torch.from_numpy(Rotation.from_matrix(np.stack(turns)).as_rotvec()).float(),
        torch.from_numpy(np.stack(shifts)).float(),
        (True,) * len(shots),
        unit is not None,
    )
    return Arrangement(table, rig, not own_light)


def with_own_poses(reconstruction: Reconstruction) -> Reconstruction:
    """The same before any camera's place is known: every photo's pose is in its own camera's frame."""
    rig = reconstruction.rig
    assert rig is not None
    nowhere = torch.zeros_like(rig.rotation)
    unknown = Rig(nowhere, nowhere, (True, *[False] * (len(rig) - 1)))
    table = {**reconstruction.sharing.table, "rotation": "photo", "translation": "photo"}
    return _shared_by(replace(reconstruction, rig=unknown), table)


def settled(reconstruction: Reconstruction) -> Reconstruction:
    """The same heads before the same cameras, whose unknown places are those that the heads tell.

    All photos are of one moment, and the first camera is the rig's frame.
    """
    rig = reconstruction.rig
    assert rig is not None
    cameras = [reconstruction.camera(photo) for photo in range(len(reconstruction))]
    turns = torch.stack([camera.turn[0].double() for camera in cameras])
    shifts = torch.stack([camera.translation[0].double() for camera in cameras])
    rig = replace(rig, rotation=rig.rotation.double(), translation=rig.translation.double())
    moved = rig.with_places_of(turns[None], shifts[None])
    old = reconstruction.parameters
    parameters = replace(
        old,
        rotation=pose_of(turns[:1]).expand(len(cameras), 3).to(old.rotation).clone(),
        translation=shifts[:1].expand(len(cameras), 3).to(old.translation).clone(),
    )
    as_before = replace(moved, rotation=moved.rotation.float(), translation=moved.translation.float())
    return replace(reconstruction.with_parameters(parameters), rig=as_before)


def in_places(alone: Reconstruction, arrangement: Arrangement) -> tuple[Reconstruction, str]:
    """Photos that were fitted each in its own camera's frame, with one pose and the cameras in their places.

    Places in an unknown unit are scaled as the heads' distances tell. What is said in return is how well the
    heads agree with the places.

    Raises
    ------
    CameraError: if the heads contradict the places: the file is of other cameras, or of another unit.
    """
    rig = arrangement.rig
    assert rig is not None
    cameras = [alone.camera(photo) for photo in range(len(alone))]
    turns = np.stack([camera.turn[0].double().cpu().numpy() for camera in cameras])
    shifts = np.stack([camera.translation[0].double().cpu().numpy() for camera in cameras])
    mounted = np.stack([rig.turn(number).double().cpu().numpy() for number in range(len(rig))])
    places = rig.translation.double().cpu().numpy()
    heads = Rotation.from_matrix(mounted.transpose(0, 2, 1) @ turns)
    head = heads.mean()
    unlike = np.degrees((head.inv() * heads).magnitude())
    if unlike.max() > MOST_UNLIKE:
        raise CameraError(
            "The cameras do not belong to these photos: seen from their places, the head would look "
            f"{unlike.max():.0f} degrees aside in photo {unlike.argmax()} of what the others show. Check that "
            f"they "
            "were calibrated together with these photos, that names were not exchanged, and that rotations go "
            "from "
            "the world to the camera."
        )
    centres = -np.einsum("pji,pj->pi", mounted, places)  # in the rig's frame
    seen = head.apply(-np.einsum("pji,pj->pi", turns, shifts))  # from the head, along the rig's axes
    spread = centres - centres.mean(0)
    baseline, distance = float(np.sqrt((spread**2).sum(1).mean())), float(np.linalg.norm(shifts, axis=1).mean())
    scale = float((spread * (seen - seen.mean(0))).sum() / max((spread**2).sum(), 1e-12))
    shortest = SHORTEST_BASELINE * distance
    if rig.metric and max(scale, 1) * baseline > shortest and not SCALES[0] < scale < SCALES[1]:
        raise CameraError(
            "The unit of the cameras' places is not the one given: the heads' size says that distances are "
            f"{scale:.4g} times as large. Give the right --unit, or leave it out."
        )
    if len(rig) > 1 and not rig.metric and scale * baseline < shortest:
        raise CameraError(
            "The cameras stand so near to each other that the face does not tell the unit of their places. "
            "Give it: --unit mm, cm, m or inch."
        )
    factor = 1.0 if rig.metric or len(rig) == 1 else scale
    rig = replace(rig, translation=rig.translation * factor)
    origin = (factor * centres - seen).mean(0)
    single = _shared_by(alone, arrangement.table)
    old = single.parameters
    parameters = replace(
        old,
        rotation=pose_of(torch.from_numpy(head.as_matrix())[None]).to(old.rotation),
        translation=torch.from_numpy(origin)[None].to(old.translation),
    )
    said = f"seen alone, the heads are turned {unlike.mean():.1f} degrees from what the cameras' places say"
    if rig.metric:
        said += f"; their size says {scale:.3f} times the distances" if len(rig) > 1 else ""
    else:
        said += f"; one unit of the places is {factor:.4g} mm, as the head's size tells"
    return replace(single.with_parameters(parameters), rig=rig), said


def _shared_by(reconstruction: Reconstruction, table: SharingTable) -> Reconstruction:
    """The same photos sharing by another table; what is newly shared is the first photo's."""
    old = reconstruction.sharing
    photos = [old.of_photo(reconstruction.parameters, photo) for photo in range(len(reconstruction))]
    sharing = replace(old, table=table)
    return replace(reconstruction, parameters=sharing.joined(photos), sharing=sharing)
