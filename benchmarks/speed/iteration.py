"""Processor time of one iteration, an image and its gradients: by path replay and by light transfer.

    python -m benchmarks.speed.iteration --size 256

prints JSON. Everything runs on one thread: the figures compare work, not cores. `benchmarks.speed` runs this.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

import renderers
from benchmarks.parity.scenes import BANDS, CASES
from nextface.fitting.transfer.light_transfer import transfer_vectors
from nextface.fitting.transfer.renderer import TransferRenderer
from nextface.scene import Environment, Material, Scene
from nextface.scene.lighting import project_map
from nextface.scene.pixel_points import PixelPoints
from renderers.ray_casting import occlusion_of
from renderers.renderer import Renderer, Transferable
from renderers.settings import Settings

SCENE = "face-glossy-0.5-sh9"
SAMPLES = 8  # light paths a pixel, as while fitting
ALL = ("diffuse", "specular", "roughness")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels of the picture's side (default 256)")
    parser.add_argument("--repeats", type=int, default=15, help="iterations of each, whose median counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scene = CASES[SCENE].scene(options.size)
    renderer = renderers.create("mitsuba", Settings("cpu", threads=1))
    assert isinstance(renderer, Transferable)
    wanted = torch.ones(options.size, options.size, dtype=torch.bool)
    transfer = TransferRenderer(renderer, [scene], [wanted], BANDS)
    found = {
        "diffuse": {
            "pathReplay": _cpu_ms(_drawn(renderer, scene, ("diffuse",)), options.repeats),
            "transfer": _cpu_ms(_lambert(renderer, scene, wanted), options.repeats),
        },
        "all maps": {
            "pathReplay": _cpu_ms(_drawn(renderer, scene, ALL), options.repeats),
            "transfer": _cpu_ms(_drawn(transfer, scene, ALL), options.repeats),
        },
    }
    renderer.close()
    print(json.dumps(found))


def _cpu_ms(iterate: Callable[[int], None], repeats: int) -> float:
    """The median of the CPU milliseconds of iterations, after three that are not counted."""
    spent = []
    for iteration in range(3 + repeats):
        start = time.process_time()
        iterate(iteration)
        spent.append(1000 * (time.process_time() - start))
    return median(spent[3:])


def _drawn(renderer: Renderer, scene: Scene, maps: tuple[str, ...]) -> Callable[[int], None]:
    """Iterations through a renderer, with gradients by some maps and by the light."""

    def iterate(iteration: int) -> None:
        leaves = {name: _leaf(getattr(scene.material, name)) for name in maps}
        light = _leaf(scene.environment.radiance)
        material: Material = replace(scene.material, **leaves)
        image = renderer.render(
            replace(scene, material=material, environment=Environment(light)), SAMPLES, iteration
        )
        _differentiate(image, [*leaves.values(), light])

    return iterate


def _lambert(renderer: Transferable, scene: Scene, wanted: Tensor) -> Callable[[int], None]:
    """Iterations by the Lambert lobe's transfer alone, with gradients by the diffuse map and the light."""
    points = PixelPoints.of(scene, wanted)
    reached = occlusion_of(renderer, scene)
    vectors = transfer_vectors(points, BANDS, reached, renderer.specular_lobe)[:, 0].contiguous()
    averages = points.averages(scene)

    def iterate(iteration: int) -> None:
        diffuse, radiance = _leaf(scene.material.diffuse), _leaf(scene.environment.radiance)
        light = project_map(radiance, BANDS)[0]
        colour = averages(diffuse.flatten(0, -2)).T * (light.T @ vectors)
        image = colour.new_zeros(wanted.numel(), 3).index_copy(0, points.pixel, colour.T)
        _differentiate(image, [diffuse, radiance])

    return iterate


def _leaf(values: Tensor) -> Tensor:
    return values.detach().clone().requires_grad_()


def _differentiate(image: Tensor, leaves: list[Tensor]) -> None:
    image[..., :3].square().mean().backward()
    assert all(leaf.grad is not None for leaf in leaves)


if __name__ == "__main__":
    main()
