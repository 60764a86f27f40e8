"""Mitsuba 3: ray-traced faces with shadows, on a GPU or a CPU."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nextface.errors import MissingPartError
from nextface.scene import Mesh, Scene
from nextface.scene.corners import MeshCorners
from nextface.system.python import pip_install
from nextface.system.threads import available_cores
from renderers.mitsuba.edges.mesh_edges import Edges
from renderers.mitsuba.edges.silhouettes import boundary_gradients
from renderers.mitsuba.llvm import chosen_llvm, find_llvm
from renderers.mitsuba.probe import probe
from renderers.renderer import FirstHits, Occlusion
from renderers.scene_check import check_scene
from renderers.seeds import derived_seed
from renderers.specular_lobe import GGX, SpecularLobe

if TYPE_CHECKING:
    from renderers.mitsuba.occlusion import RayTester
    from renderers.mitsuba.scene import MitsubaScene

CUDA_VARIANT = "cuda_ad_rgb"
LLVM_VARIANT = "llvm_ad_rgb"

_lock = threading.RLock()  # Mitsuba's variant and Dr.Jit's thread count belong to the whole process


class MitsubaRenderer:
    """Ray tracing with Mitsuba 3, differentiable by every tensor of the scene.

    Direct light by default; more bounces by path replay. Gradients see shading, and the motion of the surface
    under each pixel; with `visibility_gradients` also how outlines and shadow edges move, in radiance and in
    coverage. Without, coverage has no gradient. Shadows of light that bounced before do not count as moving.

    Parameters
    ----------
    device: where to trace rays: "auto" (a GPU where one works), "cpu" or "cuda". Tensors may be anywhere.
    max_bounces: surface reflections between light and camera; 1 is direct light.
    threads: CPU threads of Dr.Jit, for the whole process; None for all that this process may use.
    visibility_gradients: add the gradients of `renderers.mitsuba.edges.silhouettes` by vertices and camera.

    Raises
    ------
    MissingPartError: when Mitsuba, LLVM or the GPU is missing, naming what to install.
    """

    name = "mitsuba"
    casts_shadows = True
    shades_vertices = False
    noisy = True
    specular_lobe: SpecularLobe = GGX()

    def __init__(
        self,
        device: str = "auto",
        max_bounces: int = 1,
        threads: int | None = None,
        visibility_gradients: bool = False,
    ) -> None:
        if max_bounces < 1:
            raise ValueError(f"max_bounces is {max_bounces}; it must be at least 1")
        self.variant = choose_variant(device)
        self.max_bounces = max_bounces
        self.visibility_gradients = visibility_gradients
        self._scene: MitsubaScene | None = None
        self._topology: _Topology | None = None
        self._loaded = -1  # number of the draw whose leaves are in the scene
        self._draws = 0
        self._drawn: _Topology | None = None  # the topology of the scene
        self._threads_before: int | None = None  # Dr.Jit's, as the caller had them
        if self.variant == LLVM_VARIANT:
            with chosen_llvm(), _variant(self.variant):
                import drjit

                self._threads_before = drjit.thread_count()
                drjit.set_thread_count(threads or available_cores())

    def render(self, scene: Scene, samples: int, seed: int) -> Tensor:
        """Linear radiance, premultiplied by coverage, and coverage alpha: [N, height, width, 4].

        Protocol: `renderers.renderer.Renderer.render`. `samples` light paths start in each pixel,
        uniformly over its square. Seeds of photos, passes and the backward pass are mixed from `seed` by
        `renderers.mitsuba.random_numbers.derived_seed`.
        """
        check_scene(scene, samples)
        images = [self._render_one(scene[index], samples, seed, index) for index in range(len(scene))]
        return torch.stack(images)

    def occlusion(self, scene: Scene) -> Occlusion:
        """Tell which light the mesh of a scene of one photo lets through.

        Protocol: `renderers.renderer.ShadowCaster.occlusion`.
        """
        tester = self._ray_tester(scene)

        def reached(origins: Tensor, directions: Tensor) -> Tensor:
            with _variant(self.variant):
                return ~tester.hits(origins, directions)

        return reached

    def first_hits(self, scene: Scene) -> FirstHits:
        """Tell which triangles of a scene of one photo rays meet.

        Protocol: `renderers.renderer.RayCaster.first_hits`.
        """
        tester = self._ray_tester(scene)

        def met(origins: Tensor, directions: Tensor) -> Tensor:
            with _variant(self.variant):
                return tester.first(origins, directions)

        return met

    def _ray_tester(self, scene: Scene) -> RayTester:
        """Rays against a scene's mesh in the camera frame."""
        positions = scene.camera.transform(scene.mesh.vertices)[0]
        with _variant(self.variant):
            from renderers.mitsuba.occlusion import RayTester

            return RayTester(positions, scene.mesh.triangles.cpu().numpy().astype(np.uint32))

    def close(self) -> None:
        """Release what the renderer holds; it is not used afterwards."""
        self._scene = None
        self._topology = None
        if self._threads_before is not None:
            import drjit

            drjit.set_thread_count(self._threads_before)
            self._threads_before = None

    def _render_one(self, scene: Scene, samples: int, seed: int, photo: int) -> Tensor:
        mesh, material, camera = scene.mesh, scene.material, scene.camera
        topology = self._update_topology(mesh, material.is_mapped)
        vertices, normals = camera.transform(mesh.vertices)[0], camera.rotate(mesh.normals)[0]
        leaves = {
            "positions": topology.corners.spread(vertices),
            "normals": topology.corners.spread(normals),
            "diffuse": material.diffuse[0],
            "specular": material.specular[0],
            "roughness": material.roughness[0],
            "environment": scene.environment.radiance[0],
            "rays": torch.linalg.inv(camera.intrinsics[0])[:2],
        }
        self._draws += 1
        view = _View(topology, camera.width, camera.height, samples, (seed, photo), self._draws)
        return _Draw.apply(self, view, tuple(leaves), *leaves.values())

    def _update_topology(self, mesh: Mesh, mapped: bool) -> _Topology:
        if self._topology is None or not self._topology.fits(mesh, mapped):
            self._topology = _Topology.of(mesh, mapped)
        return self._topology

    def _load(self, view: _View, leaves: dict[str, Tensor], tracked: set[str]) -> MitsubaScene:
        """The scene with these leaves in it, built anew where topology or sizes changed."""
        from renderers.mitsuba.scene import MitsubaScene, SceneLayout

        if self._loaded == view.number and self._scene is not None:
            return self._scene
        topology = view.topology
        height, width = leaves["diffuse"].shape[:2]
        layout = SceneLayout(
            corners=leaves["positions"].shape[0],
            triangles=topology.triangles.shape[0],
            map_size=None if topology.uvs is None else (height, width),
            environment_height=leaves["environment"].shape[0],
            max_bounces=self.max_bounces,
        )
        if self._scene is None or self._scene.layout != layout or self._drawn is not topology:
            self._scene = MitsubaScene(layout, topology.triangles, topology.uvs)
            self._drawn = topology
        self._loaded = -1  # until all leaves are in
        self._scene.load(leaves, tracked)
        self._loaded = view.number
        return self._scene


@dataclass(frozen=True, eq=False)
class _Topology:
    """A mesh's triangles as Mitsuba wants them: one corner for each pair of vertex and texture coordinate."""

    corners: MeshCorners
    mapped: bool
    triangles: np.ndarray  # [F, 3] uint32, corner numbers
    uvs: np.ndarray | None  # [P, 2] float32; None without maps

    @cached_property
    def edges(self) -> Edges:
        """The mesh's edges between corners; texture seams are no edges of it."""
        triangles = self.corners.source[0]
        assert triangles is not None
        return Edges.of(triangles.cpu(), torch.from_numpy(self.triangles.astype(np.int64)))

    @classmethod
    def of(cls, mesh: Mesh, mapped: bool) -> _Topology:
        corners = MeshCorners.of(mesh, mapped)
        uvs = None
        if corners.uv is not None and mesh.uvs is not None:
            uvs = mesh.uvs[corners.uv].detach().to("cpu", torch.float32).numpy()
        return cls(corners, mapped, corners.triangles.cpu().numpy().astype(np.uint32), uvs)

    def fits(self, mesh: Mesh, mapped: bool) -> bool:
        return mapped == self.mapped and self.corners.fits(mesh, mapped)


@dataclass(frozen=True, eq=False)
class _View:
    """What a draw needs beside its leaves."""

    topology: _Topology
    width: int
    height: int
    samples: int
    seeds: tuple[int, int]  # the caller's seed and the photo's number
    number: int  # tells draws apart


class _Draw(torch.autograd.Function):
    """The bridge between torch's gradients and Dr.Jit's."""

    @staticmethod
    def forward(
        ctx: Any, renderer: MitsubaRenderer, view: _View, names: tuple[str, ...], *leaves: Tensor
    ) -> Tensor:
        tracked = {name for name, needed in zip(names, ctx.needs_input_grad[3:], strict=True) if needed}
        with _variant(renderer.variant):
            scene = renderer._load(view, dict(zip(names, leaves, strict=True)), tracked)
            seed = derived_seed(*view.seeds, 0)
            image = scene.draw(view.width, view.height, view.samples, seed, leaves[0].device)
        ctx.renderer, ctx.view, ctx.names, ctx.tracked = renderer, view, names, tracked
        ctx.save_for_backward(*leaves)
        return image.to(leaves[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        view, leaves = ctx.view, dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        adjoint = gradients[0].detach().float()
        with _variant(ctx.renderer.variant):
            scene = ctx.renderer._load(view, leaves, ctx.tracked)
            found = scene.gradients(
                adjoint[..., :3],
                view.width,
                view.height,
                view.samples,
                derived_seed(*view.seeds, 1),
                ctx.tracked,
            )
            moving = ctx.tracked & {"positions", "rays"}
            if ctx.renderer.visibility_gradients and moving:
                boundary = boundary_gradients(
                    scene,
                    view.topology.edges,
                    leaves["positions"],
                    leaves["rays"],
                    adjoint,
                    view.samples,
                    derived_seed(*view.seeds, 2),
                )
                for name, gradient in zip(("positions", "rays"), boundary, strict=True):
                    if name in moving:
                        found[name] = found[name].view(gradient.shape) + gradient.float().to(adjoint.device)
        result = [
            found[name].view(leaf.shape).to(leaf) if name in found else None for name, leaf in leaves.items()
        ]
        return (None, None, None, *result)


@contextmanager
def _variant(variant: str) -> Iterator[None]:
    """Make a variant current for a while; afterwards the caller's own, if any, is current again."""
    import mitsuba as mi

    with _lock:
        before = mi.variant()
        if before != variant:
            mi.set_variant(variant)
        try:
            yield
        finally:
            if before is not None and before != variant:
                mi.set_variant(before)


def choose_variant(device: str) -> str:
    """The Mitsuba variant for a device, tried in a process of its own where this was not done before.

    Raises
    ------
    MissingPartError: when Mitsuba is not installed, or the device does not work.
    """
    if importlib.util.find_spec("mitsuba") is None:
        raise MissingPartError(f"Mitsuba is not installed. Install it with: {pip_install('mitsuba>=3.9')}")
    if device == "cpu":
        find_llvm()
        return LLVM_VARIANT
    if device not in ("auto", "cuda"):
        raise ValueError(f"device is {device!r}; it must be 'auto', 'cpu' or 'cuda'")
    driver = _cuda_driver()
    if driver is None:
        reason = "no NVIDIA driver with a GPU was found"
    else:
        verdict = probe(CUDA_VARIANT, stamp=f"driver {driver}")
        if verdict.works:
            return CUDA_VARIANT
        reason = verdict.reason
    if device == "cuda":
        raise MissingPartError(
            f"Mitsuba cannot use a GPU here: {reason}. "
            "Install an NVIDIA driver (535 or newer), or use --device cpu."
        )
    find_llvm()
    return LLVM_VARIANT


def describe() -> str:
    """One line on what Mitsuba runs on here, for people.

    Raises
    ------
    MissingPartError: as `choose_variant`.
    """
    from importlib.metadata import version

    variant = choose_variant("auto")
    if variant == CUDA_VARIANT:
        return f"Mitsuba {version('mitsuba')}, {variant} (CUDA driver {_cuda_driver()})"
    library = find_llvm()
    return f"Mitsuba {version('mitsuba')}, {variant} (LLVM {library.version}, {library.path})"


def _cuda_driver() -> str | None:
    """The CUDA version of the driver, such as "12.4"; None where there is no driver or no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number, count = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return None
    if cuda.cuDriverGetVersion(ctypes.byref(number)):
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"
