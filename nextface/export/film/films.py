"""The fit drawn over the film, and beside it.

Heads are drawn by shading their vertices, without shadows: a film has many frames, and is there to be looked
at.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nextface.export.folder import map_material
from nextface.fitting.tracking.track import Track, TrackedFrame
from nextface.models.bases import vertex_count
from nextface.scene import Material, Scene
from nextface.scene.baking import sample_map
from nextface.scene.colour import linear_to_srgb
from nextface.system.progress import Progress
from nextface.videos.film import written
from nextface.videos.video import Video

OVERLAY, BESIDE = "overlay.mp4", "side_by_side.mp4"
LONGEST_SIDE = 512  # pixels at which a head is drawn, at most; larger ones are enlarged
BEHIND = 60  # of 255: what is behind the head beside the film


@torch.no_grad()
def write_films(
    track: Track, video: Video, folder: Path, draw: Callable[[Scene], Tensor], progress: Progress
) -> None:
    """Write overlay.mp4 and side_by_side.mp4, with the film's sound.

    Parameters
    ----------
    draw: makes a picture [h, w, 4] (linear, premultiplied) of a scene.
    """
    material = vertex_material(track)
    size = (video.width, video.height)
    with ExitStack() as films, progress.count("5 films", 0, len(track), "frames") as count:
        overlay = films.enter_context(written(folder / OVERLAY, size, video.path))
        beside = films.enter_context(written(folder / BESIDE, (2 * size[0], size[1]), video.path))
        for frame, found in zip(video.frames(), track.frames(), strict=False):
            empty = np.full_like(frame.rgb, BEHIND)
            over, alone = frame.rgb, empty
            if found is not None:
                over, alone = drawn_over((frame.rgb, empty), track, found, material, draw)
            overlay.add(over, frame.time)
            beside.add(np.concatenate([frame.rgb, alone], 1), frame.time)
            count.step()


def vertex_material(track: Track) -> Material:
    """The person's maps at the vertices: [1, V, C]."""
    person = track.person[0]
    model = person.model
    material = person.material or person.model_material()
    maps = map_material(person, LONGEST_SIDE) if material.is_mapped else None
    if maps is None or model.uvs is None or model.uv_triangles is None:
        return material
    uv = model.uvs.new_zeros(vertex_count(model), 2)
    uv[model.triangles.flatten()] = model.uvs[model.uv_triangles.flatten()]
    return Material(*(sample_map(values, uv) for values in (maps.diffuse, maps.specular, maps.roughness)))


def drawn_over(
    pictures: tuple[np.ndarray, ...],
    track: Track,
    frame: TrackedFrame,
    material: Material,
    draw: Callable[[Scene], Tensor],
) -> list[np.ndarray]:
    """Pictures [H, W, 3] uint8 with the head of a frame drawn over each."""
    height, width = pictures[0].shape[:2]
    vertices = track.vertices(frame)
    places = track.camera(frame).project(vertices.double())[0]
    (x0, y0), (x1, y1) = places.amin(0).floor().int().tolist(), places.amax(0).ceil().int().tolist()
    box = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        return list(pictures)
    scale = min(LONGEST_SIDE / max(box[2] - box[0], box[3] - box[1]), 1.0)
    scene = track.seen_in(frame, box, scale).scene().with_material(material)
    triangles = scene.mesh.triangles
    corners = places[triangles]
    across, along = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    front = across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0] < 0  # anticlockwise, y pointing down
    image = draw(replace(scene, mesh=replace(scene.mesh, triangles=triangles[front])))
    coverage = image[..., 3:].clamp(0, 1)
    colour = linear_to_srgb(image[..., :3].clamp(0, 1))
    layer = torch.cat([colour * coverage, coverage], -1).cpu().numpy()
    layer = cv2.resize(layer, (box[2] - box[0], box[3] - box[1]), interpolation=cv2.INTER_LINEAR)
    results = []
    for picture in pictures:
        shown = picture.copy()
        part = shown[box[1] : box[3], box[0] : box[2]]
        part[:] = np.round(255 * layer[..., :3] + (1 - layer[..., 3:]) * part).clip(0, 255)
        results.append(shown)
    return results
