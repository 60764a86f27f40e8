"""Where a film is cut: takes, within which one face moves without a jump and without being long away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONGEST_GAP = 0.34  # seconds without the face, across which it is still one take
CUT = 0.08  # mean difference of two frames' pictures, from which on there may be a cut between them
OUTSTANDING = 4.0  # times the usual difference of the frames around: a cut, and not just much motion
AROUND = 3  # frames on either side that tell what is usual
JUMP = 0.6  # of the face's size: how far it may be from one frame to the next


@dataclass(frozen=True)
class Take:
    """Frames from `first` up to, and without, `stop`; the first and the last of them show the face."""

    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


def takes(
    found: np.ndarray, times: np.ndarray, unlike: np.ndarray, centres: np.ndarray, sizes: np.ndarray
) -> list[Take]:
    """The takes of a film of T frames.

    Parameters
    ----------
    found: [T] bool, whether the face was seen.
    times: [T] seconds.
    unlike: [T] mean difference of each picture from the one before.
    centres: [T, 2] of the face, pixels; sizes: [T] of it, pixels.
    """
    breaks = _cuts(unlike)
    result: list[Take] = []
    first = last = -1
    for frame in np.flatnonzero(found):
        if first >= 0:
            jumped = np.linalg.norm(centres[frame] - centres[last]) > JUMP * sizes[last] * (frame - last)
            if jumped or times[frame] - times[last] > LONGEST_GAP or breaks[last + 1 : frame + 1].any():
                result.append(Take(first, last + 1))
                first = int(frame)
        else:
            first = int(frame)
        last = int(frame)
    if first >= 0:
        result.append(Take(first, last + 1))
    return result


def _cuts(unlike: np.ndarray) -> np.ndarray:
    """[T] bool, whether there is a cut before each frame."""
    cuts = np.zeros(len(unlike), bool)
    for frame in np.flatnonzero(unlike > CUT):
        near = np.r_[unlike[max(frame - AROUND, 1) : frame], unlike[frame + 1 : frame + 1 + AROUND]]
        cuts[frame] = unlike[frame] > OUTSTANDING * (np.median(near) if len(near) else 0)
    return cuts
