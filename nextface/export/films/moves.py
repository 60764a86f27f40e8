"""What moves in a film: the head, the light or the face, as scenes of one photo."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from nextface.person.reconstruction import Reconstruction
from nextface.scene import Environment, Scene
from nextface.scene.geometry import rotation_matrix

REPLAY_DEGREES = 30.0
REPLAY_STOPS = (0.0, -1.0, 1.0, 0.0)  # of these degrees; between two the head starts and stops softly


def replay_angles(frames: int) -> list[float]:
    """How far the head is turned (radians, to the picture's right) in each frame of a turntable.

    From the start to -30 degrees, to +30 degrees and back, each leg in a time that suits its length.
    """
    legs = [abs(end - start) for start, end in pairwise(REPLAY_STOPS)]
    angles = []
    for frame in range(frames):
        place = sum(legs) * frame / max(frames - 1, 1)
        leg = 0
        while leg < len(legs) - 1 and place > legs[leg]:
            place -= legs[leg]
            leg += 1
        share = (1 - math.cos(math.pi * min(place / legs[leg], 1.0))) / 2
        stop = REPLAY_STOPS[leg] + (REPLAY_STOPS[leg + 1] - REPLAY_STOPS[leg]) * share
        angles.append(math.radians(REPLAY_DEGREES) * stop)
    return angles


def circle_angles(frames: int) -> list[float]:
    """Angles (radians) once around, of which the last leads on to the first."""
    return [2 * math.pi * frame / frames for frame in range(frames)]


def with_head_turned(scene: Scene, angle: float) -> Scene:
    """The scene with the head turned about the picture's vertical axis, to the right; the light stays."""
    camera = scene.camera
    about_down = camera.rotation.new_tensor([[0.0, -angle, 0.0]])  # the camera's y points down
    before = camera.orientation if camera.orientation is not None else torch.eye(3).to(camera.rotation)[None]
    return replace(scene, camera=replace(camera, orientation=rotation_matrix(about_down) @ before))


def with_light_turned(scene: Scene, angle: float) -> Scene:
    """The scene with its light turned about the vertical axis: the photographer's comes from the right."""
    about_up = scene.camera.rotation.new_tensor([[0.0, angle, 0.0]])
    return replace(scene, environment=scene.environment.turned(rotation_matrix(about_up)))


def with_brightness(scene: Scene, stops: float) -> Scene:
    """The scene with its light doubled so many times."""
    environment = scene.environment
    return replace(scene, environment=Environment(environment.light * 2**stops, environment.map_height))


def resized(scene: Scene, longest_side: int) -> Scene:
    """The scene in another number of pixels."""
    camera = scene.camera
    scale = longest_side / max(camera.width, camera.height)
    size = (max(round(scale * camera.width), 1), max(round(scale * camera.height), 1))
    return replace(scene, camera=camera.resized(*size))


def with_light(scene: Scene, radiance: Tensor) -> Scene:
    """The scene under another light [1, H, 2H, 3], on the whole as bright as its own.

    How bright a file's light is, is told in units of its own, and how bright the photo's is, nobody knows.
    """
    other = Environment(radiance.to(scene.environment.light))
    ours, theirs = (float(light.coefficients(1).clamp(min=0).mean()) for light in (scene.environment, other))
    return replace(scene, environment=Environment(other.light * (ours / max(theirs, 1e-9))))


def with_expression(reconstruction: Reconstruction, expression: Tensor) -> Reconstruction:
    """One photo's (N = 1) person with another expression [E]."""
    parameters = reconstruction.parameters
    moved = replace(parameters, expression=expression[None].to(parameters.expression))
    return reconstruction.with_parameters(moved)
