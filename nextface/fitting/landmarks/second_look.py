"""Landmarks by comparison: what the detector sees in the photo, less what it sees in a picture of the fit.

A detector has its own idea of where a landmark is, which differs from face to face and from light to light. On
a reconstruction that is laid over its photo it errs much as it does on the photo. So the model's landmarks
should move by the difference of its two answers, which leaves out most of its errors and those of the places of
landmarks on the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nextface.fitting.terms.shot_on_model import ShotOnModel
from nextface.landmarks.detection.faces import Detectors
from nextface.landmarks.detection.several_looks import averaged
from nextface.landmarks.points import Landmarks
from nextface.person.reconstruction import Reconstruction
from nextface.photos.shot import Shot
from nextface.scene.colour import linear_to_srgb
from renderers.renderer import Renderer

SAMPLES = 32  # light paths a pixel of the picture that is looked at


@torch.no_grad()
def compared_landmarks(
    state: Reconstruction, shots: Sequence[ShotOnModel], renderer: Renderer, detectors: Detectors, seed: int
) -> list[ShotOnModel]:
    """The photos, with where the model's landmarks belong by comparison with a reconstruction of them.

    Those stay as they are whose landmarks were given in a file, come from a detector whose points cannot be
    averaged, or in which it does not see both faces.
    """
    return [_compared(state[photo], shot, renderer, detectors, seed) for photo, shot in enumerate(shots)]


def _compared(
    single: Reconstruction, shot: ShotOnModel, renderer: Renderer, detectors: Detectors, seed: int
) -> ShotOnModel:
    if shot.landmarks.given:
        return shot
    expected = Landmarks(shot.landmarks.detector, shot.landmarks.points.double().cpu().numpy())
    detector, _ = detectors.get(expected.detector)
    in_photo = averaged(detector, shot.shot.srgb8, expected)
    if in_photo is None:
        return shot
    in_picture = averaged(detector, _picture(single, shot.shot, renderer, seed), expected)
    if in_picture is None:
        return shot
    here = single.camera().project(shot.points(single.vertices()))[0]
    difference = torch.from_numpy(in_photo.points - in_picture.points).to(here)
    return replace(shot, compared=here + difference[shot.embedding.indices])


def _picture(single: Reconstruction, shot: Shot, renderer: Renderer, seed: int) -> np.ndarray:
    """The reconstruction laid over the photo, [h, w, 3] uint8 sRGB."""
    image: Tensor = renderer.render(single.scene(), SAMPLES, seed)[0]
    over = image[..., :3] + (1 - image[..., 3:]) * shot.observation.linear.to(image)
    return (linear_to_srgb(over.clamp(0, 1)) * 255).round().byte().cpu().numpy()
