"""All scores of one ground-truth photo: of the fit's stages, and of the mean face."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.ground_truth.record import GroundTruth
from benchmarks.scoring.albedo import score_albedo, seen_albedo
from benchmarks.scoring.frames import scene_of_photo, scored_pixels
from benchmarks.scoring.geometry import TrueFace, landmark_error, score_geometry
from benchmarks.scoring.light import ROWS, score_light
from benchmarks.scoring.pictures import rerendered, score_relit
from nextface.person.checkpoint import Checkpoint
from nextface.person.reconstruction import Reconstruction
from nextface.scene.lighting import evaluate_map
from renderers.renderer import Renderer

MEAN_FACE = "mean face"
DETECTOR = "mediapipe"  # whose points the truth knows


def stages(finished: Reconstruction) -> dict[str, Reconstruction]:
    """What each stage of a finished run made, by the names of the rows, on the CPU.

    The mean face has the pose, camera and light of stage 1, and no coefficients.

    Raises
    ------
    CheckpointError: if a stage left no checkpoint in the run's folder.
    """
    assert finished.folder is not None
    model = finished.model.to("cpu")
    frames = tuple(replace(frame, principal=frame.principal.cpu()) for frame in finished.frames)
    found = {}
    for stage in (1, 2, 3):
        checkpoint = Checkpoint.load(finished.folder / "checkpoints" / f"stage{stage}.npz", model)
        found[f"stage {stage}"] = replace(
            finished,
            model=model,
            parameters=checkpoint.parameters,
            frames=frames,
            material=checkpoint.material,
            confidence=None,
        )
    return {MEAN_FACE: mean_face(found["stage 1"]), **found}


def mean_face(placed: Reconstruction) -> Reconstruction:
    """The model's mean in place of a reconstruction: its poses, cameras and light, and no coefficients."""
    known = placed.parameters
    none = {name: torch.zeros_like(getattr(known, name)) for name in ("identity", "expression", "albedo")}
    return placed.with_parameters(replace(known, **none))


def fitted_mask(folder: Path) -> np.ndarray:
    """[h, w] bool: the frame's pixels that were in the loss of a finished run in `folder`."""
    return np.asarray(Image.open(folder / "mask_0.png").convert("L")) > 127


def score_case(
    truth: GroundTruth,
    face: TrueFace,
    rows: dict[str, Reconstruction],
    mask: np.ndarray,
    renderer: Renderer,
    lights: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Every score of every row, as plain numbers.

    Parameters
    ----------
    face: the truth's skin that is measured.
    mask: [h, w] bool, pixels of the frame that were in the loss.
    lights: [L, H, 2H, 3] under which `truth.relit` was drawn.
    """
    return {name: _score_row(truth, face, row, mask, renderer, lights) for name, row in rows.items()}


@torch.no_grad()
def _score_row(
    truth: GroundTruth,
    face: TrueFace,
    row: Reconstruction,
    mask: np.ndarray,
    renderer: Renderer,
    lights: np.ndarray,
) -> dict[str, Any]:
    embedding = row.model.landmarks(DETECTOR)
    if embedding is None:
        raise ValueError(f"the face model {row.model.name} ships no {DETECTOR} landmarks to align it by")
    height, width = truth.visible_skin.shape
    albedo, covered = seen_albedo(scene_of_photo(row, width, height))
    pixels = scored_pixels(truth) & covered
    light = evaluate_map(row.light_coefficients(), ROWS)[0]
    return {
        "geometry": asdict(score_geometry(face, row, embedding)),
        "landmarks": landmark_error(truth, row, embedding),
        "albedo": asdict(score_albedo(albedo[pixels], truth.albedo[pixels])),
        "light": asdict(score_light(light, torch.from_numpy(truth.environment))),
        "relit": asdict(score_relit(truth, row, renderer, lights)),
        "psnr": rerendered(truth, row, mask, renderer),
    }
