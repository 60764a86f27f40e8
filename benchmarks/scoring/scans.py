"""Real people of whom a scan and the true cameras are known: distances of their skin to a reconstruction's.

A person is a folder with `scan.ply` (mm) and `cameras.json`: for each photo by name its file, width, height, K
(pixels) and R, t (scan to camera, OpenCV's axes, mm).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh

from benchmarks.scoring.geometry import RADIUS, TrueFace
from nextface.landmarks.detection import detect
from nextface.photos.photo import load_photo
from nextface.scene.raster import interpolate, rasterize

NOSE_TIP = 4  # of MediaPipe's points
HAIRLINE = 75.0  # mm above the nose's tip: higher is hair, a rough surface
FACING = 0.1  # cosine of the angle at which a camera must see a point


@dataclass(frozen=True)
class ScannedView:
    """A photo of a scanned person, and the scan in its camera's frame."""

    person: str
    name: str
    photo: Path
    vertices: np.ndarray  # [V, 3] mm, camera frame
    triangles: np.ndarray  # [F, 3]
    intrinsics: np.ndarray  # [3, 3] pixels
    width: int
    height: int


def scanned_views(folder: Path) -> Iterator[ScannedView]:
    """Every view of every person in a folder, or of the one whose folder it is."""
    people = [folder] if (folder / "cameras.json").is_file() else sorted(folder.iterdir())
    for person in people:
        if not (person / "cameras.json").is_file():
            continue
        scan = trimesh.load(person / "scan.ply", process=False)
        for name, camera in json.loads((person / "cameras.json").read_text()).items():
            rotation, shift = np.array(camera["R"]), np.array(camera["t"])
            yield ScannedView(
                person.name,
                name,
                person / camera["photo"],
                scan.vertices @ rotation.T + shift.ravel(),
                np.asarray(scan.faces),
                np.array(camera["K"]),
                camera["width"],
                camera["height"],
            )


def true_face(view: ScannedView) -> TrueFace:
    """The skin that a view shows, one point a pixel, below the hairline and near the nose's tip.

    Raises
    ------
    FaceNotFoundError: if no face is found in the photo, whose landmarks are cast onto the scan.
    """
    vertices, triangles = torch.from_numpy(view.vertices), torch.from_numpy(view.triangles).long()
    image = vertices @ torch.from_numpy(view.intrinsics).T
    fragments = rasterize(image[:, :2] / image[:, 2:], vertices[:, 2], triangles, view.width, view.height)
    places = interpolate(fragments, triangles, vertices).numpy()
    covered = fragments.covered.numpy()
    mesh = trimesh.Trimesh(view.vertices, view.triangles, process=False)
    normals = interpolate(fragments, triangles, torch.from_numpy(np.array(mesh.vertex_normals))).numpy()
    landmarks = np.full((478, 3), np.nan)
    column, row = (
        np.floor(detect(load_photo(view.photo), "opencv", may_turn=False).landmarks.points).astype(int).T
    )
    inside = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    inside[inside] = covered[row[inside], column[inside]]
    landmarks[inside] = places[row[inside], column[inside]]
    tip = landmarks[NOSE_TIP]
    away = np.linalg.norm(places - tip, axis=-1)
    rays = places / np.linalg.norm(places, axis=-1, keepdims=True).clip(1e-9)
    facing = np.abs((normals * rays).sum(-1)) / np.linalg.norm(normals, axis=-1).clip(1e-9)
    chosen = covered & (away < RADIUS) & (facing > FACING) & (places[..., 1] > tip[1] - HAIRLINE)
    return TrueFace(places[chosen], tip, landmarks, with_eyes=True)
