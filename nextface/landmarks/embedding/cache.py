"""The embedding of a detector's points in a model: shipped, kept from an earlier run, or computed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextface.errors import MissingPartError, OutputError
from nextface.landmarks.detection.versions import detector_version
from nextface.landmarks.embedding.compute import compute_embedding, faces_to_look_at
from nextface.landmarks.embedding.views import Draw, detector_points
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.system.archive import ArchiveError, read_arrays
from nextface.system.atomic import replacing
from nextface.system.paths import cache_folder
from nextface.system.python import command

FORMAT = 2  # of cache files; raise it when embeddings are found differently
STORED = ("indices", "triangles", "barycentric", "weights", "contour")  # of an embedding, in files


def load_or_compute(
    model: FaceModel, detector: str, draw: Draw | None = None, cache_dir: Path | None = None
) -> LandmarkEmbedding:
    """The embedding of a detector's points in a model: shipped, cached, or computed and then cached.

    Parameters
    ----------
    detector: "mediapipe" or "fan".
    draw: draws the mean face for the detector; needed only if the embedding must be computed.
    cache_dir: where computed embeddings are kept; by default `nextface` in the user's cache folder.

    Raises
    ------
    MissingPartError: if it must be computed, and there is nothing to draw with or the detector is not here.
    FaceNotFoundError: if the detector sees no face in the pictures of the mean face.
    """
    shipped = model.landmarks(detector)
    if shipped is not None:
        return shipped
    path = (cache_dir or cache_folder()) / f"landmarks-{detector}-{_fingerprint(model, detector)}.npz"
    embedding = _load(path, detector)
    if embedding is None:
        if draw is None:
            raise MissingPartError(
                f"The face model {model.name} has no {detector} landmarks, and no renderer was given to find "
                f"them with. Pass a renderer, or fit the model once with `{command('reconstruct')}`."
            )
        embedding = compute_embedding(model, detector, draw, lambda picture: detector_points(picture, detector))
        _save(path, embedding)
    device = model.triangles.device
    return replace(embedding, **{name: getattr(embedding, name).to(device) for name in STORED})


def _fingerprint(model: FaceModel, detector: str) -> str:
    """Changes with all that is looked at, with who looks, and with how embeddings are found."""
    digest = hashlib.sha256(f"{FORMAT} {detector_version(detector)}".encode())
    for part in _looked_at(model):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _looked_at(model: FaceModel) -> Iterator[np.ndarray]:
    """What of a model decides where points are found."""
    yield from faces_to_look_at(model)
    yield model.triangles.cpu().numpy()
    reflectance = model.reflectance(torch.zeros(1, model.albedo_size, device=model.triangles.device))
    yield reflectance.diffuse.detach().cpu().numpy()
    if model.mirror is not None:
        yield model.mirror.cpu().numpy()
    for name in sorted(model.regions):
        yield np.frombuffer(name.encode(), np.uint8)
        yield model.regions[name].cpu().numpy()


def _load(path: Path, detector: str) -> LandmarkEmbedding | None:
    """What is kept in a file; None where there is nothing or it is damaged, so that it is computed again."""
    try:
        stored = read_arrays(path)
        parts: dict[str, Any] = {name: torch.from_numpy(stored[name]) for name in STORED}
        return LandmarkEmbedding(detector, **parts)
    except (OSError, ArchiveError, KeyError, TypeError):
        return None


def _save(path: Path, embedding: LandmarkEmbedding) -> None:
    try:
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **arrays(embedding))
    except OutputError:
        pass  # a cache that cannot be written only costs time


def arrays(embedding: LandmarkEmbedding) -> dict[str, Any]:
    """The embedding's tensors by their names, for a file."""
    return {name: getattr(embedding, name).cpu().numpy() for name in STORED}
