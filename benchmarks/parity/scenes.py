"""Scenes on which renderers are compared: a ball or a head under one of three lights. Nothing here is random
but by a written seed, and no photo, detector or fitting is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import trimesh
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import normalize

from nextface.models import create
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import bake_vertices
from nextface.scene.lighting import evaluate_map, fibonacci_directions, map_directions, positive_lobes

MAP_SIZE = 256  # texels of a map's side
ENVIRONMENT_HEIGHT = 64
BANDS = 9
RADIUS = 100.0  # mm, of the ball
MATTE_ROUGHNESS = (
    1.0  # of the diffuse scenes, where Schlick's rise at grazing angles is all that is not diffuse
)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    shape: str  # "sphere" or "face"
    roughness: float | None  # mean of the roughness map; None for diffuse only
    light: str  # a key of LIGHTS

    @property
    def convex(self) -> bool:
        """Whether no part shadows or hides another."""
        return self.shape == "sphere"

    def scene(self, size: int) -> Scene:
        """The scene in a picture of size x size pixels."""
        mesh, camera = SHAPES[self.shape](size)
        return Scene(mesh, material(mesh, self.roughness), Environment(LIGHTS[self.light]()[None]), camera)


def sphere(size: int) -> tuple[Mesh, Camera]:
    """A ball that fills four fifths of the picture."""
    return ball(5), _camera(size, distance=600.0, width=260.0, turn=(0.0, 0.0), centre=(0.0, 0.0))


def ball(subdivisions: int) -> Mesh:
    """A ball of RADIUS with longitude and latitude as texture coordinates; the seam is behind."""
    solid = trimesh.creation.icosphere(subdivisions)
    unit = torch.tensor(solid.vertices, dtype=torch.float32)
    triangles = torch.tensor(solid.faces, dtype=torch.int64)
    corners = unit[triangles]
    u = torch.atan2(corners[..., 0], corners[..., 2]) / (2 * math.pi) + 0.5
    u = u - (u - u[:, :1]).round()
    v = 1 - torch.arccos(corners[..., 1].clamp(-1, 1)) / math.pi
    uvs, number = torch.stack([u, v], -1).reshape(-1, 2).unique(dim=0, return_inverse=True)
    return Mesh(RADIUS * unit[None], unit[None], triangles, uvs.clamp(0, 1), number.reshape(-1, 3))


def face(size: int) -> tuple[Mesh, Camera]:
    """Somebody of the open head, turned so that the nose hides some of the cheek."""
    model = create("open")
    identity = torch.zeros(1, model.identity_size)
    identity[0, :12] = torch.randn(12, generator=torch.Generator().manual_seed(7))
    expression = torch.tensor([[0.15 * (name == "jawOpen") for name in model.expression_names]])
    vertices = model.vertices(identity, expression)
    mesh = Mesh.from_vertices(vertices, model.triangles, model.uvs, model.uv_triangles)
    return mesh, _camera(size, distance=760.0, width=330.0, turn=(6.0, 25.0), centre=(0.0, -10.0))


SHAPES: dict[str, Callable[[int], tuple[Mesh, Camera]]] = {"sphere": sphere, "face": face}


def _camera(
    size: int, distance: float, width: float, turn: tuple[float, float], centre: tuple[float, float]
) -> Camera:
    """A camera that sees `width` mm at its distance, and the model turned about its x and y axis (degrees)."""
    focal = size * distance / width
    pose = Rotation.from_rotvec([math.pi, 0, 0]) * Rotation.from_euler("xy", turn, degrees=True)
    return Camera(
        torch.tensor([[[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]]),
        torch.from_numpy(pose.as_rotvec())[None].float(),
        torch.tensor([[*centre, distance]]),
        size,
        size,
    )


def material(mesh: Mesh, roughness: float | None) -> Material:
    """Maps of smooth functions of space, without a step where a texture has its seams."""
    place = mesh.vertices[0]
    diffuse = torch.tensor([0.55, 0.4, 0.32]) + 0.15 * smooth_field(place, 3, 11)
    if roughness is None:
        specular, width = torch.zeros_like(place[:, :1]), torch.full_like(place[:, :1], MATTE_ROUGHNESS)
    else:
        specular = 0.04 + 0.015 * smooth_field(place, 1, 12)
        width = roughness + 0.05 * smooth_field(place, 1, 13)
    return Material(*(bake_vertices(values[None], mesh, MAP_SIZE) for values in (diffuse, specular, width)))


def smooth_field(place: Tensor, channels: int, seed: int) -> Tensor:
    """Functions [..., channels] of points [..., 3] (mm), in [-1, 1]: means of three waves of 200 to 500 mm."""
    generator = torch.Generator().manual_seed(seed)
    toward = normalize(torch.randn(3, channels, 3, generator=generator), dim=0)
    frequency = 2 * math.pi / (200 + 300 * torch.rand(channels, 3, generator=generator))
    phase = 2 * math.pi * torch.rand(channels, 3, generator=generator)
    along = (place @ toward.flatten(1)).unflatten(-1, (channels, 3))
    return torch.sin(frequency * along + phase).mean(-1)


def sh_light() -> Tensor:
    """[H, 2H, 3]: a key from the upper left and a cooler fill, of exactly 9 bands and nowhere negative."""
    count = 400
    toward = fibonacci_directions(count)
    key = normalize(torch.tensor([-0.6, 0.5, 0.6], dtype=torch.float64), dim=0)
    fill = normalize(torch.tensor([0.9, -0.1, 0.3], dtype=torch.float64), dim=0)
    warm = torch.tensor([1.1, 1.0, 0.9], dtype=torch.float64)
    cool = torch.tensor([0.8, 1.0, 1.3], dtype=torch.float64)
    power = 0.3 + 6 * (toward @ key).clamp(min=0)[:, None] ** 12 * warm
    power = power + 1.5 * (toward @ fill).clamp(min=0)[:, None] ** 6 * cool
    coefficients = positive_lobes(BANDS, count) @ (power * (4 * math.pi / count))
    return evaluate_map(coefficients[None], ENVIRONMENT_HEIGHT)[0].clamp(min=0).float()


def side_light() -> Tensor:
    """[H, 2H, 3]: one lamp of about 8 degrees' radius from the left, over faint even light."""
    return 0.08 + 160 * _lamp((-0.85, 0.25, 0.5), 250.0)


def high_frequency_light() -> Tensor:
    """[H, 2H, 3]: noise from texel to texel, and five lamps that are a few texels wide."""
    generator = torch.Generator().manual_seed(17)
    noise = torch.randn(ENVIRONMENT_HEIGHT, 2 * ENVIRONMENT_HEIGHT, 3, generator=generator)
    radiance = 0.35 * noise.exp()
    for _ in range(5):
        toward = torch.randn(3, generator=generator)
        radiance = radiance + 60 * _lamp((float(toward[0]), float(toward[1]), abs(float(toward[2]))), 600.0)
    return radiance


def _lamp(toward: tuple[float, float, float], sharpness: float) -> Tensor:
    direction = normalize(torch.tensor(toward, dtype=torch.float64), dim=0)
    lamp = (sharpness * (map_directions(ENVIRONMENT_HEIGHT) @ direction - 1)).exp()
    return lamp[..., None].repeat(1, 1, 3).float()


LIGHTS: dict[str, Callable[[], Tensor]] = {
    "sh9": sh_light,
    "side": side_light,
    "high-frequency": high_frequency_light,
}

CASES: dict[str, Case] = {
    "sphere-diffuse-sh9": Case("sphere", None, "sh9"),
    "sphere-glossy-0.5-high-frequency": Case("sphere", 0.5, "high-frequency"),
    "face-diffuse-sh9": Case("face", None, "sh9"),
    "face-glossy-0.3-sh9": Case("face", 0.3, "sh9"),
    "face-glossy-0.5-sh9": Case("face", 0.5, "sh9"),
    "face-glossy-0.8-sh9": Case("face", 0.8, "sh9"),
    "face-diffuse-side": Case("face", None, "side"),
    "face-diffuse-high-frequency": Case("face", None, "high-frequency"),
}
