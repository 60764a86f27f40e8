"""Gives a face model what its files lack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nextface.completion.completed_head import CompletedHead
from nextface.completion.correspondence import Correspondence, embedding_of, find_correspondence, mean_face
from nextface.completion.drawing import draw_plainly
from nextface.landmarks.embedding.views import Draw
from nextface.model_files.cache import fingerprint, kept
from nextface.models import create
from nextface.models.appearance import Appearance
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.models.validation import MOST_OVERLAP, check_model, overlap_of_charts
from nextface.surfaces.mirror import mirror_image
from nextface.surfaces.unwrapping import unwrap

EMBEDDED = "open"
UNWRAPPED = "1"  # raise it when meshes are unwrapped differently
Layout = tuple[Tensor, Tensor]
NEAR = 6.0  # mm: farther from the head a vertex gets no region, and a landmark little trust


def is_complete(model: FaceModel) -> bool:
    """Whether a model brings UVs, albedo, regions and landmarks of its own."""
    return bool(
        model.uvs is not None
        and model.albedo_size
        and model.regions
        and model.landmarks("mediapipe") is not None
    )


def complete(model: FaceModel, draw: Draw = draw_plainly) -> FaceModel:
    """The model with UVs, albedo, regions, symmetry and landmarks, as far as correspondence can give them.

    The first time takes up to a minute, later ones read the user's cache.

    Parameters
    ----------
    draw: draws a mean face for the landmark detector.

    Raises
    ------
    FaceNotFoundError: the detector sees no face in pictures of the model.
    MissingPartError: the package that makes UVs is not here.
    """
    if is_complete(model):
        return model
    device = str(model.triangles.device)
    model = model.to("cpu")
    own_layout = _own_layout(model)
    head = create(EMBEDDED)
    found = find_correspondence(model, head, draw)
    carried = ["landmarks", "regions"]
    if own_layout is None:
        carried.append("UVs (an unwrap)" if model.uvs is None else "UVs (an unwrap: its own charts overlap)")
    mirror, lacks = model.mirror, []
    if mirror is None:
        partner = mirror_image(mean_face(model))
        if partner is None:
            lacks.append("symmetry (its vertices have no mirror images)")
        else:
            mirror = torch.from_numpy(partner)
            carried.append("symmetry")
    skin = None
    if not model.albedo_size:
        skin = _skin(head).carried(head.triangles[found.on_head.triangles], found.on_head.barycentric)
        carried.append("albedo (the embedded head's skin)")
    regions = _regions(head, found) | dict(model.regions)
    lacks += [name for name in ("eyes", "mouth") if not regions[name].any()]
    complete = CompletedHead(
        model,
        *(own_layout or _unwrapped(model)),
        mirror,
        regions,
        skin,
        _embeddings(head, found),
        tuple(carried),
        tuple(lacks),
    )
    return complete.to(device)


def load_face_model(name: str, device: str, folder: str) -> FaceModel:
    """The face model that the INI key `morphableModel` names, with all that runs can use.

    Raises
    ------
    MissingPartError: its files, or a package that reads them, are not here.
    ModelError: its files are not what they should be, or make no face.
    FaceNotFoundError: the landmark detector sees no face in it.
    ConfigError: no model has this name.
    """
    model = create(name, device, folder)
    if name != EMBEDDED:
        check_model(model, of_files=True)
    return complete(model)


def _skin(head: FaceModel) -> Appearance:
    appearance = getattr(head, "appearance", None)
    assert isinstance(appearance, Appearance), "the embedded head has statistics of skin"
    return appearance


def _own_layout(model: FaceModel) -> Layout | None:
    """UVs [T, 2] and triangles [F, 3] into them as the model brings them; None where no map can have them."""
    if model.uvs is None or model.uv_triangles is None:
        return None
    if overlap_of_charts(model.uvs, model.uv_triangles) > MOST_OVERLAP:
        return None
    return model.uvs, model.uv_triangles


def _unwrapped(model: FaceModel) -> Layout:
    """UVs of a model's mesh, kept."""
    face, triangles = mean_face(model), model.triangles.cpu().numpy()

    def make() -> dict[str, np.ndarray]:
        uvs, uv_triangles = unwrap(face, triangles)
        return {"uvs": uvs, "uv_triangles": uv_triangles}

    arrays = kept("unwrapped", fingerprint(UNWRAPPED, face, triangles), make)
    return torch.from_numpy(arrays["uvs"]), torch.from_numpy(arrays["uv_triangles"])


def _regions(head: FaceModel, found: Correspondence) -> dict[str, Tensor]:
    """The head's regions on the model's vertices."""
    near = found.on_head.distance < NEAR
    return {
        name: near & (found.on_head.of(mask[:, None].float(), head.triangles)[:, 0] > 0.5)
        for name, mask in head.regions.items()
    }


def _embeddings(head: FaceModel, found: Correspondence) -> dict[str, LandmarkEmbedding]:
    """The head's embeddings on the model's surface, with what is known of the detectors' errors there."""
    carried = {}
    for detector, places in found.landmarks.items():
        known = embedding_of(head, detector)
        weights = known.weights * torch.exp(-((places.distance / NEAR) ** 2))
        carried[detector] = replace(
            known, triangles=places.triangles, barycentric=places.barycentric, weights=weights
        )
    return carried
