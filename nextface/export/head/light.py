"""The light of a photo as the head sees it."""

from __future__ import annotations

import torch

from nextface.person.reconstruction import Reconstruction
from nextface.scene import Environment
from nextface.scene.lighting import to_light_frame


@torch.no_grad()
def light_of_head(reconstruction: Reconstruction, photo: int = 0) -> Environment:
    """One photo's light (N = 1) in the head's frame: x to the subject's left, y up, z to where the face looks.

    Exported meshes are in this frame, so a light in it belongs to them without a pose.
    """
    single = reconstruction[photo]
    model_to_camera = single.camera().turn
    model_to_light = to_light_frame(model_to_camera.mT).mT
    return single.environment().turned(model_to_light.mT)
