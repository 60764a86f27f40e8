"""How far pictures and derivatives are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmarks.parity.reference import Points
from benchmarks.parity.scenes import MAP_SIZE, smooth_field
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.scene.baking import bake_vertices
from nextface.scene.lighting import map_directions
from renderers.renderer import Renderer

Array = NDArray[np.float64]

LEAST_COSINE = 0.05  # n.v of the pixels that are compared; the rest is listed apart
INTERIOR_COSINE = 0.5  # n.v of the pixels whose derivatives outlines cannot touch
COVERED = 0.999
DIRECTIONS = 3


@dataclass(frozen=True)
class ImageDifference:
    """Two renderers' pictures, relative to the mean of the reference over the pixels in question."""

    rms: float  # root mean square difference, noise included
    noise: float  # how much of that is noise, from what the two pictures differ in
    bias: float  # mean signed difference
    grazing_rms: float  # over the pixels that are left out: rims, and n.v below the limit
    outline: float  # mean absolute difference of coverage over the pixels at an outline
    overlap: float  # intersection over union of coverage


def compare(images: list[Array], references: list[Array], points: Points) -> ImageDifference:
    """Pictures [H, W, 4] against reference pictures, two of each with noise of their own."""
    image, reference = (np.mean(pair, 0) for pair in (images, references))
    seen = (image[..., 3] > 0) | (reference[..., 3] > 0)
    kept = (image[..., 3] > COVERED) & (reference[..., 3] > COVERED) & (points.cosines.min(-1) > LEAST_COSINE)
    first, second = (a[..., :3] - b[..., :3] for a, b in zip(images, references, strict=True))
    difference, level = (first + second) / 2, reference[kept][:, :3].mean()
    coverage = np.stack([image[..., 3], reference[..., 3]])
    rim = (coverage.max(0) > 1 - COVERED) & (coverage.min(0) < COVERED)
    return ImageDifference(
        rms=_root_mean_square(difference[kept]) / level,
        noise=_root_mean_square((first - second)[kept] / 2) / level,
        bias=float(difference[kept].mean() / level),
        grazing_rms=_root_mean_square(difference[seen & ~kept]) / level,
        outline=float(np.abs(coverage[0] - coverage[1])[rim].mean()),
        overlap=float(coverage.min(0).sum() / coverage.max(0).sum()),
    )


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))


def grown(image: Array, factor: int) -> Array:
    """A picture [f H, f W, C] by the means of its blocks of f x f pixels: [H, W, C]."""
    height, width, channels = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, channels)
    return np.asarray(blocks.mean((1, 3)))


# Derivatives

Change = Callable[[Scene, Tensor], Scene]


@dataclass(frozen=True)
class Parameter:
    """Something of a scene that may change: how, by numbers [M], along smooth seeded directions."""

    name: str
    change: Change  # the scene, changed by numbers [DIRECTIONS] times its directions
    moves_outlines: bool
    effort: int = 1  # times as many samples: a lobe's share of the radiance is small, its noise is not


def _vertices(scene: Scene, amounts: Tensor) -> Scene:
    mesh = scene.mesh
    fields = [smooth_field(mesh.vertices, 3, 100 + k) for k in range(DIRECTIONS)]
    vertices = mesh.vertices + sum(amount * field for amount, field in zip(amounts, fields, strict=True))
    moved = Mesh.from_vertices(vertices, mesh.triangles, mesh.uvs, mesh.uv_triangles)
    return replace(scene, mesh=moved)


def _pose(scene: Scene, amounts: Tensor) -> Scene:
    turn, shift = amounts @ _seeded(201, 3) * 0.01, amounts @ _seeded(202, 3) * torch.tensor([1.0, 1, 4])
    camera = scene.camera
    moved = replace(camera, rotation=camera.rotation + turn, translation=camera.translation + shift)
    return replace(scene, camera=moved)


def _intrinsics(scene: Scene, amounts: Tensor) -> Scene:
    camera: Camera = scene.camera
    pixel = camera.width / 100
    focal, centre = amounts @ _seeded(203, 2) * pixel, amounts @ _seeded(204, 2) * pixel / 4
    zero = torch.zeros(())
    rows = [torch.stack([focal[0], zero, centre[0]]), torch.stack([zero, focal[1], centre[1]]), torch.zeros(3)]
    return replace(scene, camera=replace(camera, intrinsics=camera.intrinsics + torch.stack(rows)))


def _light(scene: Scene, amounts: Tensor) -> Scene:
    radiance = scene.environment.radiance
    toward = 200 * map_directions(radiance.shape[1]).to(radiance)
    gain = 0.1 * sum(amount * smooth_field(toward, 3, 300 + k) for k, amount in enumerate(amounts))
    return replace(scene, environment=Environment(radiance * (1 + gain)))


def _map(name: str, scale: float) -> Change:
    def change(scene: Scene, amounts: Tensor) -> Scene:
        channels = getattr(scene.material, name).shape[-1]
        fields = [smooth_field(scene.mesh.vertices, channels, 400 + k) for k in range(DIRECTIONS)]
        maps = [bake_vertices(field, scene.mesh, MAP_SIZE) for field in fields]
        added = scale * sum(amount * values for amount, values in zip(amounts, maps, strict=True))
        material: Material = replace(scene.material, **{name: getattr(scene.material, name) + added})
        return scene.with_material(material)

    return change


def _seeded(seed: int, size: int) -> Tensor:
    return torch.randn(DIRECTIONS, size, generator=torch.Generator().manual_seed(seed))


PARAMETERS = (
    Parameter("vertices", _vertices, True),
    Parameter("pose", _pose, True),
    Parameter("intrinsics", _intrinsics, True),
    Parameter("light", _light, False),
    Parameter("diffuse", _map("diffuse", 0.05), False),
    Parameter("specular", _map("specular", 0.03), False, effort=2),
    Parameter("roughness", _map("roughness", 0.2), False, effort=4),
)


@dataclass(frozen=True)
class Plan:
    """How derivatives are measured."""

    samples: int
    seed: int
    step: float = 1.0  # of finite differences


def changes(renderer: Renderer, scene: Scene, parameter: Parameter, plan: Plan) -> Tensor:
    """How the picture changes along each direction, by central differences: [DIRECTIONS, H, W, 3]."""
    with torch.no_grad():
        pictures = [
            [
                renderer.render(parameter.change(scene, side * way), plan.samples, plan.seed)[0, ..., :3]
                for side in (plan.step / 2, -plan.step / 2)
            ]
            for way in torch.eye(DIRECTIONS)
        ]
    return torch.stack([ahead - behind for ahead, behind in pictures]) / plan.step


def loss_weights(change: Tensor, mask: Tensor) -> Tensor:
    """What a loss multiplies radiance by, [H, W, 3]: where and how the picture changes, blurred a little.

    So a derivative is a sum of positive shares and not a small difference of large ones.

    Parameters
    ----------
    change: [DIRECTIONS, H, W, 3].
    mask: [H, W, 1], 0 where the loss must not look.
    """
    smooth = avg_pool2d((change * mask).permute(0, 3, 1, 2), 3, 1, 1).permute(0, 2, 3, 1) * mask
    return (smooth / smooth.flatten(1).norm(dim=1)[:, None, None, None]).sum(0)


def derivatives(renderer: Renderer, scene: Scene, parameter: Parameter, loss: Tensor, plan: Plan) -> Tensor:
    """Derivatives [DIRECTIONS] of the sum of radiance times `loss` [H, W, 3], by gradient."""
    amounts = torch.zeros(DIRECTIONS, requires_grad=True)
    image = renderer.render(parameter.change(scene, amounts), plan.samples, plan.seed)[0, ..., :3]
    return torch.autograd.grad((image * loss).sum(), amounts)[0]


@dataclass(frozen=True)
class DerivativeError:
    """How far three derivatives are from those expected, relative to the length of these."""

    error: float
    noise: float  # standard deviation that the noise of finite differences gives it


def derivative_error(found: Tensor, guide: Tensor, change: Tensor, loss: Tensor) -> DerivativeError:
    """Derivatives [DIRECTIONS] against what finite differences say.

    Parameters
    ----------
    guide, change: two answers of `changes` with noise of their own; the second is compared with.
    loss: [H, W, 3].
    """
    expected = (change * loss).sum((1, 2, 3))
    variance = ((change - guide) * loss).square().sum() / 2
    length = expected.norm()
    return DerivativeError(float((found - expected).norm() / length), float(variance.sqrt() / length))
