"""Shots made by hand, from pictures and points that tests draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.models.face_model import FaceModel, LandmarkEmbedding
from nextface.photos.frame import Frame
from nextface.photos.observation import Observation
from nextface.photos.shot import DetectedLandmarks, LensPrior, Shot


def made_shot(
    srgb: Tensor,
    mask: Tensor,
    points: Tensor | None = None,
    focal: float = 300.0,
    spread: float = 0.1,
    clipped: Tensor | None = None,
    blendshapes: Mapping[str, float] | None = None,
) -> Shot:
    """A photo [h, w, 3] without crop, with MediaPipe's landmarks [478, 2]; zeros where none are given."""
    height, width = mask.shape
    return Shot(
        Observation(srgb, mask, torch.zeros_like(mask) if clipped is None else clipped),
        mask.numpy(),
        DetectedLandmarks("mediapipe", torch.zeros(478, 2) if points is None else points, blendshapes or {}),
        Frame(width, height, torch.tensor([[width / 2, height / 2]]), np.eye(2, 3)),
        LensPrior(focal, spread),
        Path("made.png"),
    )


def on_model(shot: Shot, model: FaceModel) -> ShotOnModel:
    """A shot on a model that ships its landmarks."""
    embedding = model.landmarks(shot.landmarks.detector)
    assert embedding is not None
    return ShotOnModel(shot, model, embedding)


def fewer(embedding: LandmarkEmbedding, step: int) -> LandmarkEmbedding:
    """Every so many of the landmarks, which fit faster, and nothing known of their errors: they err alone."""
    parts = ("indices", "triangles", "barycentric", "weights", "contour")  # by landmark
    return replace(embedding, **{name: getattr(embedding, name)[::step] for name in parts}, errors=None)
