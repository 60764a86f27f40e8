"""A track as the motion of an exported head."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from nextface.export.head.motion import HeadMotion
from nextface.export.head.posable import METRES
from nextface.fitting.tracking.track import Track


def head_motion(track: Track) -> HeadMotion:
    """The motion through all frames that show the face; between takes it goes straight on.

    A head's pose is its turn away from facing the camera, and OpenGL's camera looks back along its z: so the
    turn in that camera's frame is the pose itself.
    """
    prior = track.person.model.expression_prior
    reach = (prior.high - prior.mean).double().cpu()
    times, weights, turns, places = [], [], [], []
    for frame in track.frames():
        if frame is None:
            continue
        times.append(frame.time)
        weights.append(((frame.expression - prior.mean.double().cpu()) / reach).numpy())
        turns.append(frame.rotation.numpy())
        places.append(frame.translation.numpy() * [METRES, -METRES, -METRES])
    quaternions = Rotation.from_rotvec(np.stack(turns)).as_quat()
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(1))
    quaternions[1:] *= np.cumprod(np.where(flips == 0, 1, flips))[:, None]
    return HeadMotion(
        np.array(times, np.float32),
        np.stack(weights).astype(np.float32),
        quaternions.astype(np.float32),
        np.stack(places).astype(np.float32),
    )
