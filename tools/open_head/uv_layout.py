"""The UV layout: skin in one chart that is cut along the back of the head, eyeballs, teeth and tongue below it.

Only the half with x >= 0 is laid out, with its midline on u = 0.5; the other half is its mirror image, so the
layout is exactly symmetric and, half by half, free of overlaps by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .eyeball import RINGS
from .regions import Places
from .slim import relax, tutte
from .topology import Head

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Rectangle = tuple[float, float, float, float]  # left, bottom, right, top of the half that is laid out

SKIN: Rectangle = (0.5, 0.128, 1.0, 1.0)
TONGUE: Rectangle = (0.5, 0.076, 0.62, 0.114)
UPPER_TEETH: Rectangle = (0.5, 0.041, 0.72, 0.068)
LOWER_TEETH: Rectangle = (0.5, 0.006, 0.72, 0.033)
EYE_CENTRE, EYE_RADIUS = (0.86, 0.060), 0.054
EYE_POWER = 0.7  # below 1 the iris gets more of its island
CROWN_HEIGHT = 0.9  # where the cut ends, as a share of the way from the chin's height to the top of the skull
ITERATIONS = 60


@dataclass(frozen=True)
class Layout:
    """UV coordinates [T, 2], UV triangles [F, 3] in the order of the head's, and the UV mirror map [T]."""

    uvs: Array
    triangles: Indices
    mirror: Indices


def _border(triangles: Indices) -> list[int]:
    """The border's vertices in the order that keeps the triangles on the left."""
    directed = [tuple(edge) for edge in triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()]
    present = set(directed)
    after = {first: second for first, second in directed if (second, first) not in present}
    start = min(after)
    loop = [start]
    while after[loop[-1]] != start:
        loop.append(after[loop[-1]])
    assert len(loop) == len(after), "the half must be a disk"
    return loop


def _spread(lengths: Array, low: float, high: float) -> Array:
    """Places of a path's vertices between `low` and `high`, both ends included, by step lengths."""
    way = np.concatenate([[0.0], np.cumsum(lengths)])
    return low + (high - low) * way / way[-1]


def _half_chart(
    positions: Array, triangles: Indices, scale: Array, importance: Array, axis: list[int], rectangle: Rectangle
) -> Array:
    """Places [V, 2] of a half's vertices: `axis` along the rectangle's left side, the other borders around.

    `axis` is a stretch of the border, from the end that gets the lower left corner to the upper left one.
    `scale` [V] says how large each vertex's surroundings are drawn, relative to true size.
    """
    left, bottom, right, top = rectangle
    loop = _border(triangles)
    first = loop.index(axis[-1])  # clockwise from here on the plane: along the top, down the right side, back
    loop = loop[first:] + loop[:first]
    rest = loop[: loop.index(axis[0]) + 1]
    if len(rest) + len(axis) - 2 != len(loop):
        rest = [axis[-1], *reversed(loop[loop.index(axis[0]) :])]
    drawn = np.linalg.norm(np.diff(positions[rest], axis=0), axis=1) * scale[rest][1:]
    way = _spread(drawn, 0.0, 2 * (right - left) + top - bottom)
    corner = [int(abs(way - turn).argmin()) for turn in (right - left, right - left + top - bottom)]
    sides = [rest[: corner[0] + 1], rest[corner[0] : corner[1] + 1], rest[corner[1] :]]
    places, held = np.zeros((len(positions), 2)), np.zeros((len(positions), 2), bool)
    for path, start, end in (
        (axis, (left, bottom), (left, top)),
        (sides[0], (left, top), (right, top)),
        (sides[1], (right, top), (right, bottom)),
        (sides[2], (right, bottom), (left, bottom)),
    ):
        steps = np.linalg.norm(np.diff(positions[path], axis=0), axis=1) * scale[path][1:]
        share = _spread(steps, 0.0, 1.0)[:, None]
        places[path] = np.array(start) * (1 - share) + np.array(end) * share
        held[path, 0 if start[0] == end[0] else 1] = True
        held[[path[0], path[-1]]] = True
    start = tutte(triangles, len(positions), np.array(loop), places[loop])
    corners = positions[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    size = scale[triangles].mean(1)
    wanted = (area * size**2).sum()
    unit = np.sqrt((right - left) * (top - bottom) / wanted)
    weights = area * size**2 * importance[triangles].mean(1)
    return relax(
        start,
        triangles,
        corners * (unit * size)[:, None, None],
        weights / weights.sum(),
        held,
        ITERATIONS,
    )


def _axis(head: Head, positions: Array, part: str, loop: list[int], to_global: Indices) -> list[int]:
    """The stretch of a half's border that lies on u = 0.5, from its lower to its upper end."""
    middle = [head.mirror[to_global[vertex]] == to_global[vertex] for vertex in loop]
    if part == "tongue":  # all of its border is midline: the axis is the upper side, from the tip to the root
        tip, root = (int(pick(positions[loop][:, 2])) for pick in (np.argmax, np.argmin))
        one = loop[tip:] + loop[:tip]
        end = one.index(loop[root])
        first, second = one[: end + 1], [one[0], *reversed(one[end:])]
        return max(first, second, key=lambda path: positions[path][:, 1].mean())
    begin = next(i for i in range(len(loop)) if middle[i] and not middle[i - 1])
    path = [
        vertex for vertex in loop[begin:] + loop[:begin] if head.mirror[to_global[vertex]] == to_global[vertex]
    ]
    heights = positions[path][:, 1]
    if part != "skin":
        return path if heights[0] < heights[-1] else path[::-1]
    if positions[path[0], 2] < positions[path[-1], 2]:
        path = path[::-1]  # from the front of the neck over face and crown to its back
    heights = positions[path][:, 1]
    top = int(heights.argmax())
    limit = heights.min() + CROWN_HEIGHT * (heights.max() - heights.min())
    end = next(i for i in range(top, 0, -1) if heights[i] < limit)
    return path[: end + 1]


def _eye_places(head: Head) -> Array:
    """Places [V, 2] of the left eyeball's vertices on a disk, and of the right one's as its mirror image."""
    angle = np.nan_to_num(head.eye_angle)
    number = np.zeros(len(head.part), int)
    for part in ("left_eye", "right_eye"):
        vertices = head.of_part(part)
        number[vertices] = np.arange(len(vertices))
    azimuth = (np.maximum(number - 1, 0) % 32) * 2 * np.pi / 32
    radius = EYE_RADIUS * (angle / RINGS[-1]) ** EYE_POWER
    return np.array(EYE_CENTRE) + radius[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], 1)


def lay_out(head: Head, positions: Array, scale: Array, importance: Array) -> Layout:
    """The layout for fine vertices [V, 3] (symmetric), drawn at `scale` [V] with `importance` [V]."""
    places = _eye_places(head)
    on_axis = np.zeros(len(positions), bool)
    upper_half = np.zeros(len(head.triangles), bool)  # triangles of the half x >= 0
    for part, rectangle in (
        ("skin", SKIN),
        ("tongue", TONGUE),
        ("upper_teeth", UPPER_TEETH),
        ("lower_teeth", LOWER_TEETH),
    ):
        vertices = head.of_part(part)
        chosen = _half_triangles(head, vertices, positions)
        upper_half[chosen] = True
        used = np.unique(head.triangles[chosen])
        local = np.full(len(positions), -1)
        local[used] = np.arange(len(used))
        triangles = local[head.triangles[chosen]]
        axis = _axis(head, positions[used], part, _border(triangles), used)
        places[used] = _half_chart(positions[used], triangles, scale[used], importance[used], axis, rectangle)
        on_axis[used[axis]] = True
    left_eye = np.isin(head.triangles[:, 0], head.of_part("left_eye"))
    upper_half |= left_eye

    first = np.unique(head.triangles[upper_half])
    second = first[~on_axis[first]]  # these get a second UV vertex, for the other half
    uv_of_first = np.full(len(positions), -1)
    uv_of_first[first] = np.arange(len(first))
    uv_of_second = uv_of_first.copy()
    uv_of_second[second] = len(first) + np.arange(len(second))
    half = places[first].astype(np.float32).astype(float)
    half[on_axis[first], 0] = 0.5
    uvs = np.concatenate([half, half[~on_axis[first]] * [-1, 1] + [1, 0]])
    mirror = np.concatenate([uv_of_second[first], uv_of_first[second]])
    uv_triangles = np.where(
        upper_half[:, None], uv_of_first[head.triangles], uv_of_second[head.mirror[head.triangles]]
    )
    return Layout(uvs, uv_triangles, mirror)


def _half_triangles(head: Head, vertices: Indices, positions: Array) -> Indices:
    """The triangles of a part that lie on the side x >= 0 of the midline."""
    inside = np.isin(head.triangles[:, 0], vertices)
    middle = head.mirror == np.arange(len(head.mirror))
    centre = np.where(middle[head.triangles], 0.0, positions[head.triangles][:, :, 0]).sum(1)
    return np.flatnonzero(inside & (centre > 0))


def drawing_scale(places: Places) -> tuple[Array, Array]:
    """How large [V] each vertex's surroundings are drawn, relative to the face, and how much shape counts."""
    inside = np.maximum(places.mouth_inside, places.socket)
    face = np.clip(places.face, 0, 1)
    scale = 0.30 + 0.70 * face + 0.25 * places.ears * (1 - face)
    scale = np.where(places.mouth_inside > 0.5, 0.10, scale * (1 - 0.75 * places.socket))
    importance = (0.08 + 0.92 * face + 0.12 * places.ears * (1 - face)) * (1 - 0.95 * inside)
    return scale, importance
