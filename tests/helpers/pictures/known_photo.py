"""Ground-truth records made from a reconstruction, which then is the perfect answer to them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rendered_photo import person

from benchmarks.ground_truth.record import GroundTruth
from benchmarks.scoring.albedo import seen_albedo
from benchmarks.scoring.frames import scene_of_photo
from benchmarks.scoring.geometry import outer_skin
from nextface.fitting.terms.shot_on_model import landmark_points
from nextface.landmarks.topology import MEDIAPIPE
from nextface.models.open_head import load_open_head
from nextface.person.reconstruction import Reconstruction
from nextface.photos.frame import Frame
from nextface.scene import Environment
from nextface.scene.lighting import map_directions
from nextface.scene.raster import interpolate, rasterize_scene
from renderers.vertex.renderer import VertexRenderer

EXPOSURE = 0.7


def relighting(height: int = 16) -> np.ndarray:
    """Two lights [2, H, 2H, 3]: from above, and a reddish one from the left."""
    directions = map_directions(height).float()
    above = (0.3 + directions[..., 1].clamp(min=0))[..., None].expand(-1, -1, 3)
    left = (0.2 - 1.5 * directions[..., 0].clamp(max=0))[..., None] * torch.tensor([1.0, 0.8, 0.7])
    return torch.stack([above, left]).numpy()


def answer(size: int = 128) -> Reconstruction:
    """Somebody in a photo of size x size pixels, fitted without crop."""
    return person(load_open_head(), size)


def cropped(
    reconstruction: Reconstruction, scale: float, corner: tuple[float, float], size: int
) -> Reconstruction:
    """The same in a frame of size x size pixels that starts at a corner of the photo, reduced by `scale`."""
    (frame,) = reconstruction.frames
    to_frame = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    middle = torch.from_numpy(to_frame @ np.array([frame.width / 2, frame.height / 2, 1]))[None].float()
    parameters = reconstruction.parameters
    smaller = replace(parameters, focal=parameters.focal + math.log(scale))
    return replace(reconstruction, parameters=smaller, frames=(Frame(size, size, middle, to_frame),))


@torch.no_grad()
def truth_of(reconstruction: Reconstruction) -> GroundTruth:
    """The record whose perfect answer is a reconstruction without crop, drawn without rays."""
    model, scene = reconstruction.model, reconstruction.scene()
    (frame,) = reconstruction.frames
    camera = scene.camera
    vertices = camera.transform(scene.mesh.vertices)[0]
    skin = torch.zeros(len(vertices), dtype=torch.bool)
    skin[outer_skin(model).flatten()] = True
    image = VertexRenderer().render(scene, 1, 0)[0]
    embedding = model.landmarks("mediapipe")
    assert embedding is not None
    landmarks = np.full((478, 2), np.nan)
    places = camera.project(landmark_points(scene.mesh.vertices, model, embedding))[0]
    landmarks[embedding.indices.numpy()] = places.numpy()
    landmarks[[*MEDIAPIPE.left_iris, *MEDIAPIPE.right_iris]] = np.nan
    albedo, _ = seen_albedo(scene_of_photo(reconstruction, frame.width, frame.height))
    fragments = rasterize_scene(scene)
    shows_skin = interpolate(fragments, model.triangles, skin[:, None].float())[..., 0] > 0.999
    relit = [
        VertexRenderer().render(replace(scene, environment=Environment(torch.from_numpy(light)[None])), 1, 0)[0]
        for light in relighting()
    ]
    tip = vertices[:, 2].argmin()
    return GroundTruth(
        name="known",
        heads="makehuman",
        tone="medium",
        reported=False,
        photo=Path("known.jpg"),
        vertices=vertices.numpy(),
        triangles=model.triangles.numpy(),
        skin=skin.numpy(),
        nose_tip=vertices[tip].numpy(),
        landmarks=landmarks,
        intrinsics=camera.intrinsics[0].numpy(),
        radiance=image[..., :3].numpy() / EXPOSURE,
        exposure=EXPOSURE,
        coverage=image[..., 3].numpy(),
        visible_skin=(shows_skin & fragments.covered).numpy(),
        albedo=albedo.astype(np.float32),
        environment=scene.environment.radiance[0].numpy(),
        relit=np.stack([picture[..., :3].numpy() for picture in relit]) / EXPOSURE,
    )
