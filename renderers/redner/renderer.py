"""redner: ray-traced faces with shadows on the CPU, with gradients that may see silhouettes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nextface.errors import RendererError
from nextface.scene import Camera, Environment, Material, Mesh, Scene
from nextface.system.threads import available_cores
from renderers.redner import installation as redner_environment
from renderers.redner.in_process import RednerHere
from renderers.redner.lobe import BlinnPhong
from renderers.redner.process import RednerProcess
from renderers.redner.scene import BufferLayout, frames, leaves, sampling_tables
from renderers.scene_check import check_scene
from renderers.seeds import derived_seed
from renderers.specular_lobe import SpecularLobe


class DrawableScene(Protocol):
    """A scene that redner holds, here or in its own process.

    It is drawn in two parts, one for each half of its light: samples a pixel and seed are given for each.
    """

    def draw(self, samples: list[int], seeds: list[int]) -> np.ndarray:
        """The image [height, width, 4]: linear radiance, premultiplied by coverage, and coverage."""
        ...

    def differentiate(self, adjoint: np.ndarray, samples: list[int], seeds: list[int]) -> dict[str, np.ndarray]:
        """Gradients of sum(adjoint * image) by each leaf, with adjoint [height, width, 4]."""
        ...


class NoScene:
    """Stands for a scene with values that are not finite, which would end redner: all it gives is NaN."""

    def __init__(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> None:
        self._shapes = {name: array.shape for name, array in values.items()}
        self._size = size

    def draw(self, samples: list[int], seeds: list[int]) -> np.ndarray:
        """An image [height, width, 4] of NaN."""
        return np.full((self._size[1], self._size[0], 4), np.nan, np.float32)

    def differentiate(self, adjoint: np.ndarray, samples: list[int], seeds: list[int]) -> dict[str, np.ndarray]:
        """Gradients of NaN."""
        return {name: np.full(shape, np.nan, np.float32) for name, shape in self._shapes.items()}


class Engine(Protocol):
    """redner, wherever it works."""

    def start(self) -> None:
        """Load it now, not at the first scene; raises RendererError where it does not load."""
        ...

    def load(self, arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> DrawableScene:
        """A scene from what `renderers.redner.worker.DrawnScene` takes."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class RednerRenderer:
    """Ray tracing with redner 0.4.28 on the CPU, differentiable by every tensor of the scene.

    Its lobe of reflection is not GGX but Blinn-Phong with Smith's shadowing for Beckmann's distribution: as
    high at its peak, and wider. Gradients by vertices and camera see shading, and the motion of the surface
    under each pixel; with `visibility_gradients`, silhouettes, too. They never see the edges of shadows move.

    Parameters
    ----------
    engine: where redner works; see `find_engine`. It is closed with this renderer.
    max_bounces: surface reflections between light and camera; 1 is direct light.
    visibility_gradients: whether gradients see silhouettes move.
    """

    name = "redner"
    casts_shadows = True
    shades_vertices = False
    noisy = True
    specular_lobe: SpecularLobe = BlinnPhong()

    def __init__(self, engine: Engine, max_bounces: int = 1, visibility_gradients: bool = False) -> None:
        if max_bounces < 1:
            raise ValueError(f"max_bounces is {max_bounces}; it must be at least 1")
        self.max_bounces = max_bounces
        self.visibility_gradients = visibility_gradients
        self._engine = engine
        self._layout: BufferLayout | None = None

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance, premultiplied by coverage, and coverage alpha: [N, height, width, 4].

        Protocol: `renderers.renderer.Renderer.render`. `samples` light paths start in each pixel, uniformly
        over its square. Seeds of photos and of the backward pass are mixed from `seed` by
        `renderers.seeds.derived_seed`.

        Raises
        ------
        RendererError: when redner's process dies or hangs, or there is no memory to share with it.
        """
        check_scene(scene, samples)
        return torch.stack(
            [self._render_one(scene[photo], samples, (seed, photo)) for photo in range(len(scene))]
        )

    def close(self) -> None:
        """End redner's process; the renderer is not used afterwards."""
        self._engine.close()

    def _render_one(self, scene: Scene, samples: int, seeds: tuple[int, int]) -> Tensor:
        if self._layout is None or not self._layout.fits(scene):
            self._layout = BufferLayout.of(scene)
        values = leaves(scene, self._layout)
        return _Draw.apply(
            self,
            self._layout,
            (scene.camera.width, scene.camera.height),
            samples,
            seeds,
            tuple(values),
            *values.values(),
        )

    def _load(
        self, layout: BufferLayout, size: tuple[int, int], values: dict[str, np.ndarray]
    ) -> DrawableScene:
        if not all(np.isfinite(array).all() for array in values.values()):
            return NoScene(values, size)
        rows, columns, densities, lit = sampling_tables(values["environments"])
        fixed = {
            "triangles": layout.triangles,
            "uvs": layout.uvs,
            "uv_triangles": layout.uv_triangles,
            "frames": frames(rows.shape[1]),
            "rows": rows,
            "columns": columns,
        }
        options = {
            "width": size[0],
            "height": size[1],
            "densities": densities,
            "lit": lit,
            "max_bounces": self.max_bounces,
            "edges": self.visibility_gradients,
        }
        return self._engine.load({**values, **fixed}, options)


class _Draw(torch.autograd.Function):
    """The bridge between torch's gradients and redner's."""

    @staticmethod
    def forward(
        ctx: Any,
        renderer: RednerRenderer,
        layout: BufferLayout,
        size: tuple[int, int],
        samples: int,
        seeds: tuple[int, int],
        names: tuple[str, ...],
        *tensors: Tensor,
    ) -> Tensor:
        values = {
            name: tensor.detach().to("cpu", torch.float32).contiguous().numpy()
            for name, tensor in zip(names, tensors, strict=True)
        }
        scene = renderer._load(layout, size, values)
        image = scene.draw(_shares(samples), [derived_seed(*seeds, half) for half in (0, 1)])
        if any(ctx.needs_input_grad):
            ctx.scene = scene  # which goes when the graph does
            ctx.samples, ctx.seeds = _shares(samples), [derived_seed(*seeds, half) for half in (2, 3)]
            ctx.tensors = [
                (name, tensor.dtype, tensor.device) for name, tensor in zip(names, tensors, strict=True)
            ]
        return torch.from_numpy(image).to(tensors[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        adjoint = gradients[0].detach().to("cpu", torch.float32).contiguous().numpy()
        found = ctx.scene.differentiate(adjoint, ctx.samples, ctx.seeds)
        result = [
            torch.from_numpy(found[name]).to(device, dtype) if needed else None
            for (name, dtype, device), needed in zip(ctx.tensors, ctx.needs_input_grad[6:], strict=True)
        ]
        return (None,) * 6 + tuple(result)


def _shares(samples: int) -> list[int]:
    """Samples a pixel for the light in front, and for that behind, of which less arrives."""
    return [samples, -(-samples // 4)]


def find_engine(python: str = "auto", threads: int | None = None) -> Engine:
    """redner in this very interpreter where it imports, else in a process of its own with an older Python.

    Parameters
    ----------
    python: the Python 3.8 to use, or "auto" for the one of `nextface setup redner`.
    threads: cores that redner's process may use; None for all that this process may use.

    Raises
    ------
    MissingPartError: when redner has not been set up.
    """
    if python == "auto" and find_spec("redner") is not None:
        return RednerHere()
    environment = redner_environment.find_environment(python)
    return RednerProcess(environment.command, environment.packages, threads or available_cores())


def try_out(engine: Engine) -> None:
    """Draw and differentiate a triangle that reflects half of a uniform light, and close the engine.

    Raises
    ------
    RendererError: where redner does not work, or not as it should.
    """
    renderer = RednerRenderer(engine)
    try:
        corners = torch.tensor([[[-300.0, -300, 500], [0, 600, 500], [300, -300, 500]]])
        diffuse = torch.full((1, 3, 3), 0.5, requires_grad=True)
        material = Material(diffuse, torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
        camera = Camera(
            torch.tensor([[[16.0, 0, 4], [0, 16, 4], [0, 0, 1]]]), torch.zeros(1, 3), torch.zeros(1, 3), 8, 8
        )
        mesh = Mesh(corners, torch.tensor([0.0, 0, -1]).expand(1, 3, 3), torch.tensor([[0, 1, 2]]))
        scene = Scene(mesh, material, Environment(torch.ones(1, 8, 16, 3)), camera)
        mean = renderer.render(scene, 64, 1)[..., :3].mean()
        (gradient,) = torch.autograd.grad(mean, diffuse)
    finally:
        renderer.close()
    if abs(float(mean.detach()) - 0.5) > 0.01 or abs(float(gradient.sum()) - 1) > 0.02:
        raise RendererError("redner computes wrong images or gradients here")
