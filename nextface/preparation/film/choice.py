"""Frames that tell most of a person: sharp ones, as unlike in pose, expression and light as they come.

What a frame shows is told by its landmarks, moved and scaled to one place and size: turns of the head and
expressions both change them; and by the colours of the face's parts, which the light changes. Frames are added
one by one, each the farthest from those that were taken (Gonzalez, "Clustering to minimize the maximum
intercluster distance", Theoretical Computer Science 1985), starting with the one that is most like all others.
"""

from __future__ import annotations

import numpy as np

from nextface.preparation.film.cuts import Take
from nextface.videos.records import Records

CANDIDATES = 600  # frames at most that are chosen from, evenly spread over the film
SHARP_ENOUGH = 0.85  # of the usual sharpness
LEAST_OF_WIDTH = 0.6  # of the usual size of the face: smaller faces show less
STEADY = 0.02  # of the face's size: how far landmarks may be from the mean of their neighbours'
LIGHT_WEIGHT = 0.15  # of a difference of colour beside one of landmarks, which are told in sizes of the face


def keyframes(records: Records, takes: list[Take], count: int, width: int, height: int) -> list[int]:
    """Numbers of the chosen frames, in the order in which they were chosen; fewer where there are not enough.

    Parameters
    ----------
    records: of the scan, see `nextface.preparation.film.sightings.sighting_type`.
    width, height: of the frames, pixels.
    """
    frames = np.concatenate([np.arange(take.first, take.stop) for take in takes])
    frames = frames[:: -(-len(frames) // CANDIDATES)]
    seen = np.concatenate([records.read(frame, frame + 1) for frame in frames])
    frames, seen = frames[seen["found"]], seen[seen["found"]]
    points = seen["points"].astype(np.float64)
    size = np.sqrt(np.ptp(points, axis=1).prod(-1))
    inside = ((points > 0) & (points < [width, height])).all(-1).mean(-1)
    steady = np.array([_unsteadiness(records, frame) for frame in frames]) < STEADY
    good = (seen["sharpness"] >= SHARP_ENOUGH * np.median(seen["sharpness"])) & (inside > 0.98)
    good &= size >= LEAST_OF_WIDTH * np.median(size)
    for wish in (good & steady, good, np.ones(len(frames), bool)):  # as many wishes as leave enough frames
        if wish.sum() >= min(count, len(frames)):
            break
    frames, points, size, colours = frames[wish], points[wish], size[wish], seen["light"][wish]
    shapes = (points - points.mean(1, keepdims=True)) / size[:, None, None]
    features = np.concatenate(
        [
            shapes.reshape(len(shapes), -1) / np.sqrt(points.shape[1]),
            LIGHT_WEIGHT * colours.reshape(len(colours), -1) / np.sqrt(colours[0].size),
        ],
        1,
    )
    chosen = [int(np.linalg.norm(features - np.median(features, 0), axis=1).argmin())]
    away = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        away = np.minimum(away, np.linalg.norm(features - features[chosen[-1]], axis=1))
        chosen.append(int(away.argmax()))
    return [int(frames[number]) for number in chosen]


def _unsteadiness(records: Records, frame: int) -> float:
    """How far a frame's landmarks are from the mean of its two neighbours', over the face's size.

    0 where a neighbour does not show the face.
    """
    near = records.read(frame - 1, frame + 2)
    if len(near) < 3 or not near["found"].all():
        return 0.0
    before, here, after = near["points"].astype(np.float64)
    size = np.sqrt(np.ptp(here, axis=0).prod())
    return float(np.linalg.norm(here - (before + after) / 2, axis=1).mean() / max(size, 1.0))
