"""Every file of a film's result folder but those of the person."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nextface.export.files import write_png
from nextface.export.film.arrays import ArrayArchive, write_archive
from nextface.export.film.cameras import model_to_camera, picture_name, write_cameras
from nextface.export.film.films import write_films
from nextface.export.film.own_parameters import write_own_parameters
from nextface.export.folder import map_material
from nextface.export.mesh import write_obj
from nextface.fitting.tracking.coordinates import DRIFT
from nextface.fitting.tracking.track import Track, TrackedFrame
from nextface.models.bases import neutral_vertices
from nextface.models.gaze import eyeball_regions, gaze_directions
from nextface.scene import Mesh, Scene
from nextface.system.atomic import replacing
from nextface.system.progress import Progress
from nextface.videos.video import Video

SCHEMA_VERSION = 1
MAP_SIDE = 512  # texels of maps that must still be baked


def write_track(
    track: Track,
    video: Video,
    folder: Path,
    films: bool,
    meshes: bool,
    pictures: bool,
    draw: Callable[[Scene], Tensor],
    progress: Progress,
) -> None:
    """Write track.npz, curves.csv and transforms.json, a model's own parameters where it has some, and films,
    meshes and pictures where they are wanted.

    Parameters
    ----------
    draw: makes a picture [h, w, 4] (linear, premultiplied) of a scene.
    """
    write_archive(folder / "track.npz", lambda archive: _fill(archive, track))
    _write_curves(folder / "curves.csv", track)
    write_cameras(folder / "transforms.json", track, video)
    write_own_parameters(folder, track, video)
    if meshes:
        _write_meshes(folder / "meshes", track, progress)
    if pictures:
        with progress.count("5 pictures", 0, len(track), "frames") as count:
            for frame in video.frames():
                write_png(folder / picture_name(frame.number), frame.rgb / 255)
                count.step()
    if films:
        write_films(track, video, folder, draw, progress)


@torch.no_grad()
def _fill(archive: ArrayArchive, track: Track) -> None:
    model, count = track.person.model, len(track)
    person = track.person[0]
    identity = person.parameters.identity
    archive.add("schemaVersion", SCHEMA_VERSION)
    archive.add("model", model.name)
    archive.add("expressionNames", list(model.expression_names))
    archive.add("identity", identity[0].cpu().numpy())
    archive.add("albedo", person.parameters.albedo[0].cpu().numpy())
    archive.add("K", track.problem.camera.intrinsics[0].double().numpy())
    archive.add("size", [track.problem.camera.width, track.problem.camera.height])
    maps = map_material(person, MAP_SIDE)
    if maps is not None:
        for kind in ("diffuse", "specular", "roughness"):
            archive.add(f"map_{kind}", getattr(maps, kind)[0].cpu().numpy().astype(np.float16))
    for name, kind in (("time", "f8"), ("take", "i4"), ("seen", "?"), ("confidence", "f4")):
        archive.add_rows(name, (count,), kind, (records[name] for _, records in track.chunks()))

    def per_frame(name: str, shape: tuple[int, ...], value: Callable[[TrackedFrame], Any]) -> None:
        archive.add_rows(name, (count, *shape), "f4", _rows(track, shape, value))

    expressions = len(model.expression_names)
    per_frame("expression", (expressions,), lambda frame: frame.expression)
    per_frame("pose", (3,), lambda frame: frame.rotation)
    per_frame("translation", (3,), lambda frame: frame.translation)
    per_frame("modelToCamera", (3, 4), lambda frame: model_to_camera(frame, track))
    per_frame("lightDrift", (DRIFT,), lambda frame: frame.drift)
    per_frame("light", (person.bands**2, 3), lambda frame: track.light(frame).cpu())
    rest = neutral_vertices(model, identity)[0]
    eyeballs = eyeball_regions(model, rest)
    if eyeballs:
        per_frame("gaze", (2, 3), lambda frame: gaze_directions(rest, track.vertices(frame), eyeballs)[0].cpu())


def _rows(track: Track, shape: tuple[int, ...], value: Callable[[TrackedFrame], Any]) -> Iterator[np.ndarray]:
    """A value of each frame, NaN where there is no face."""
    for frame in track.frames():
        yield np.full(shape, np.nan) if frame is None else np.asarray(value(frame))


def _write_curves(path: Path, track: Track) -> None:
    """One line a frame: time, confidence, the expression by its coordinates' names, and the head's turn."""
    names = track.person.model.expression_names
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["frame", "time", "confidence", *names, "headPitch", "headYaw", "headRoll"])
        for number, (frame, time) in enumerate(zip(track.frames(), _times(track), strict=True)):
            if frame is None:
                lines.writerow([number, f"{time:.6f}", 0, *[""] * (len(names) + 3)])
                continue
            turn = Rotation.from_rotvec(frame.rotation.numpy())
            yaw, pitch, roll = turn.as_euler("YXZ", degrees=True)
            shown = [f"{value:.5f}" for value in (*frame.expression.tolist(), pitch, yaw, roll)]
            lines.writerow([number, f"{time:.6f}", f"{frame.confidence:.4f}", *shown])


def _times(track: Track) -> Iterator[float]:
    for _, records in track.chunks():
        yield from records["time"].tolist()


@torch.no_grad()
def _write_meshes(folder: Path, track: Track, progress: Progress) -> None:
    """The head of every frame, in model space."""
    model = track.person.model
    with progress.count("5 meshes", 0, len(track), "frames") as count:
        for frame in track.frames():
            if frame is not None:
                mesh = Mesh.from_vertices(track.vertices(frame), model.triangles, model.uvs, model.uv_triangles)
                write_obj(folder / f"frame_{frame.number:06d}.obj", mesh)
            count.step()
