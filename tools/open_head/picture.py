"""Draws docs/images/open_head.png: the mean, modes, expressions and random samples of the embedded face model.

python tools/open_head/picture.py
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextface.models.open_head import OpenHead, load_open_head
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.colour import linear_to_srgb
from nextface.scene.geometry import intrinsic_matrix
from nextface.scene.lighting import map_directions
from renderers.vertex.renderer import VertexRenderer

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "images" / "open_head.png"
TILE, OVERSAMPLING = 240, 2
DISTANCE = 1000.0  # mm
BACKGROUND = 0.95
Array = NDArray[np.float64]


def studio(height: int = 32) -> Environment:
    """A soft key light from the upper left, a weaker one from the right, and a dim surround."""
    directions = map_directions(height).float()
    radiance = torch.full((height, 2 * height, 1), 0.50)
    for direction, width, strength in (((-0.55, 0.45, 0.7), 0.35, 4.0), ((0.85, 0.1, 0.5), 0.35, 1.2)):
        towards = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
        radiance = radiance + strength * torch.exp((directions @ towards - 1) / width**2 * 2)[..., None]
    return Environment(radiance.expand(-1, -1, 3)[None])


def draw(
    model: OpenHead, renderer: VertexRenderer, vertices: Tensor, albedo: Tensor, yaw: float, zoom: float
) -> Array:
    """One tile [TILE, TILE, 3] in [0, 1]: the head turned by `yaw` degrees; `zoom` 1 shows all of it."""
    size = TILE * OVERSAMPLING
    reflectance = model.reflectance(albedo)
    turn = torch.tensor(
        [math.pi, 0.0, 0.0]
    )  # y up and z towards the viewer, seen by a camera with y down and z forward
    angle = math.radians(yaw)
    spin = torch.tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    scene = Scene(
        Mesh.from_vertices(vertices @ spin.T, model.triangles, model.uvs, model.uv_triangles),
        Material(reflectance.diffuse, reflectance.specular, reflectance.roughness),
        studio(),
        Camera(
            intrinsic_matrix(
                torch.tensor([size * zoom * DISTANCE / 325]), torch.tensor([[size / 2, size / 2]])
            ),
            turn[None],
            torch.tensor([[0.0, -5.0 if zoom > 1 else 0.0, DISTANCE]]),
            size,
            size,
        ),
    )
    image = renderer.render(scene, 1, 0)[0].detach()
    composed = image[..., :3] + (1 - image[..., 3:]) * BACKGROUND**2.2
    coarse = composed.unflatten(0, (TILE, OVERSAMPLING)).unflatten(2, (TILE, OVERSAMPLING)).mean((1, 3))
    return np.asarray(linear_to_srgb(coarse.clamp(0, 1)), float)


def tiles(model: OpenHead) -> list[list[Array]]:
    """Rows of tiles: the mean, plus and minus two standard deviations of five modes, expressions, samples."""
    renderer = VertexRenderer()
    no_identity = torch.zeros(1, model.identity_size)
    neutral, plain = torch.zeros(1, len(model.expression_names)), torch.zeros(1, model.albedo_size)

    def head(
        identity: Tensor = no_identity, yaw: float = 0, zoom: float = 1, albedo: Tensor = plain, **shape: float
    ) -> Array:
        expression = neutral.clone()
        for name, value in shape.items():
            names = [name] if name in model.expression_names else [name + "Left", name + "Right"]
            for one in names:
                expression[0, model.expression_names.index(one)] = value
        return draw(model, renderer, model.vertices(identity, expression), albedo, yaw, zoom)

    def mode(number: int, value: float) -> Tensor:
        identity = no_identity.clone()
        identity[0, number] = value
        return identity

    rows = [[head(), head(yaw=35), head(yaw=90), head(yaw=180), head(zoom=2.2), head(yaw=-20, zoom=1.4)]]
    rows += [[head(mode(number, value), 20) for number in range(6)] for value in (-2.0, 2.0)]
    rows.append(
        [
            head(zoom=1.4, jawOpen=0.5),
            head(zoom=1.4, eyeBlink=1),
            head(zoom=1.4, mouthSmile=0.8),
            head(zoom=1.4, mouthSmile=0.6, jawOpen=0.15, mouthUpperUp=0.6, mouthLowerDown=0.4),
            head(zoom=1.4, browInnerUp=1, mouthPucker=0.8),
            head(zoom=1.4, browDown=1, noseSneer=0.7, mouthFrown=0.6),
        ]
    )
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        rows.append(
            [
                head(
                    torch.randn(1, model.identity_size, generator=generator),
                    yaw,
                    albedo=torch.randn(1, model.albedo_size, generator=generator),
                )
                for yaw in (-25, 0, 25, -25, 0, 25)
            ]
        )
    return rows


def main() -> None:
    """Write the picture."""
    sheet = np.concatenate([np.concatenate(row, 1) for row in tiles(load_open_head())], 0)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet * 255 + 0.5).astype(np.uint8)).save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
