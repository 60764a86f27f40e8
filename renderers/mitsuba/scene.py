"""A Mitsuba scene of one mesh under one environment, held in memory and updated in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from renderers.mitsuba import skin_bsdf
from renderers.mitsuba.edges.boundaries import ShadowSteps
from renderers.mitsuba.environment_light import EnvironmentLight
from renderers.mitsuba.exchange import to_drjit, to_torch
from renderers.mitsuba.light_transport import Surroundings, direct_radiance, indirect_radiance, shadow_steps
from renderers.mitsuba.random_numbers import PixelSequence
from renderers.seeds import derived_seed

Array = NDArray[np.float32]

LEAVES = ("positions", "normals", "diffuse", "specular", "roughness", "environment", "rays")
"""What can change between draws, and what gradients reach.

positions, normals: [P, 3] in the camera frame; diffuse, specular, roughness: [P, C] or [H, W, C];
environment: [H, 2H, 3] in the light frame; rays: [2, 3], the upper rows of the inverse camera matrix.
"""

WAVEFRONT = 1 << 22  # samples drawn at once: bounds memory at about 200 MB


@dataclass(frozen=True)
class SceneLayout:
    """What the structure of a scene is made of: two draws of one layout share a scene and its kernels."""

    corners: int  # P
    triangles: int  # F
    map_size: tuple[int, int] | None  # height and width of the maps; None for vertex values
    environment_height: int
    max_bounces: int


class MitsubaScene:
    """One scene, drawn as often as wanted while its leaves change.

    Parameters
    ----------
    layout: the sizes.
    triangles: [F, 3] corner numbers.
    uvs: [P, 2] texture coordinates of the corners (v up); ignored without maps.
    """

    def __init__(self, layout: SceneLayout, triangles: NDArray[np.uint32], uvs: Array | None) -> None:
        self.layout = layout
        self._leaves: dict[str, Any] = {}
        self._geometry: list[tuple[Tensor, bool]] = []  # positions and normals as loaded, and if tracked
        self._bsdf = mi.load_dict(_bsdf_description(layout))
        properties = mi.Properties()
        properties["mesh_bsdf"] = self._bsdf
        mesh = mi.Mesh(
            "mesh",
            layout.corners,
            layout.triangles,
            properties,
            has_vertex_normals=True,
            has_vertex_texcoords=layout.map_size is not None,
        )
        if layout.map_size is None:
            for name, channels in (("diffuse", 3), ("specular", 1), ("roughness", 1)):
                mesh.add_attribute(f"vertex_{name}", channels, np.zeros(layout.corners * channels, np.float32))
        parameters = mi.traverse(mesh)
        parameters["faces"] = mi.UInt32(triangles.ravel())
        if layout.map_size is not None:
            assert uvs is not None
            flipped = np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1)  # Mitsuba's bitmaps put row 0 at v = 0
            parameters["vertex_texcoords"] = mi.Float(flipped.ravel())
        parameters.update()
        self._light = EnvironmentLight(layout.environment_height)
        self._scene = mi.load_dict({"type": "scene", "mesh": mesh})
        self._around = Surroundings(self._scene, self._bsdf, self._light)
        self._parameters = mi.traverse(self._scene)
        self._names = {"positions": "mesh.vertex_positions", "normals": "mesh.vertex_normals"}
        for name in ("diffuse", "specular", "roughness"):
            self._names[name] = f"mesh.bsdf.{name}.data" if layout.map_size else f"mesh.vertex_{name}"
        self._parameters.keep(list(self._names.values()))
        self._sampler = mi.load_dict({"type": "independent"})  # for bounces beyond the first

    def load(self, values: dict[str, Tensor], tracked: set[str]) -> None:
        """Put new values of all leaves into the scene; gradients will reach those that are `tracked`."""
        geometry = [(values[name].detach().clone(), name in tracked) for name in ("positions", "normals")]
        kept = {"positions", "normals"} if self._holds(geometry) else set()
        self._geometry = []  # until all is in
        for name in values.keys() - kept:
            value = values[name].detach().clone()  # Dr.Jit may keep it, and its owner may write to it later
            maps = name in ("diffuse", "specular", "roughness") and self.layout.map_size is not None
            leaf = to_drjit(mi.TensorXf if maps else mi.Float, value)
            if name in tracked:
                dr.enable_grad(leaf)
            self._leaves[name] = leaf
            if name in self._names:
                self._parameters[self._names[name]] = leaf
            elif name == "environment":
                self._light.load(leaf, value.float().cpu().numpy())
        self._parameters.update()
        self._geometry = geometry

    def _holds(self, geometry: list[tuple[Tensor, bool]]) -> bool:
        """Whether these positions and normals are in already: their acceleration structure is dear to build."""
        return bool(self._geometry) and all(
            was_tracked == is_tracked and old.device == new.device and torch.equal(old, new)
            for (old, was_tracked), (new, is_tracked) in zip(self._geometry, geometry, strict=True)
        )

    def draw(self, width: int, height: int, samples: int, seed: int, device: torch.device) -> Tensor:
        """The image [height, width, 4] of what is loaded, on a device: linear radiance and coverage."""
        total = [dr.zeros(mi.Float, width * height) for _ in range(4)]
        with dr.suspend_grad():
            for number, count in enumerate(_passes(width * height, samples)):
                _, ray, numbers = self._begin(width, height, count, derived_seed(seed, number))
                colour, valid = self._radiance(ray, numbers)
                channels = [*colour, dr.select(valid, mi.Float(1), 0)]
                dr.eval(channels)  # together, so that one kernel draws them
                total = [
                    sum_ + dr.block_sum(channel, count, mode="evaluated")
                    for sum_, channel in zip(total, channels, strict=True)
                ]
        image = torch.stack(to_torch(total, device), -1) / samples
        return image.view(height, width, 4)

    def gradients(
        self, adjoint: Tensor, width: int, height: int, samples: int, seed: int, wanted: set[str]
    ) -> dict[str, Tensor]:
        """Gradients by the wanted leaves of sum(adjoint * image), with adjoint [height, width, 3].

        The wanted leaves must have been tracked when they were loaded. The gradients are flat and lie where the
        adjoint does.
        """
        leaves = {name: self._leaves[name] for name in sorted(wanted)}
        dr.clear_grad(leaves)
        try:
            weights = to_drjit(mi.Float, adjoint / samples)
            for number, count in enumerate(_passes(width * height, samples)):
                pixel, ray, numbers = self._begin(width, height, count, derived_seed(seed, number))
                weight = dr.gather(mi.Color3f, weights, pixel)
                colour, _ = self._radiance(ray, numbers, weight)
                dr.backward_from(weight * colour)
                del colour, ray, numbers
                dr.eval(dr.grad(leaves))
            found = to_torch([dr.grad(leaf) for leaf in leaves.values()], adjoint.device)
        finally:
            dr.clear_grad(leaves)
        return dict(zip(leaves, found, strict=True))

    # What boundary gradients ask, as `renderers.mitsuba.edges.silhouettes.Tracer` says it

    def look(self, points: Array, seed: int) -> Array:
        """One light path each: radiance and coverage [N, 4] at image points [2, N / 2, 2] in pixels."""
        sides, half = points.reshape(-1, 2), points.shape[1]
        channels = [np.zeros((0, 4), np.float32)]
        with dr.suspend_grad():
            for start in range(0, len(sides), WAVEFRONT):
                part = sides[start : start + WAVEFRONT]
                number = dr.arange(mi.UInt32, len(part)) + dr.opaque(mi.UInt32, start)
                number = dr.select(number >= dr.opaque(mi.UInt32, half), number - half, number)
                numbers = PixelSequence(number, mi.UInt32(0), dr.opaque(mi.UInt32, seed))
                if self.layout.max_bounces > 1:
                    self._sampler.seed(derived_seed(seed, start), len(part))
                ray = self._camera_ray(mi.Float(part[:, 0].copy()), mi.Float(part[:, 1].copy()))
                colour, valid = self._radiance(ray, numbers, at_outline=True)
                found = [*colour, dr.select(valid, mi.Float(1), 0)]
                dr.eval(found)
                channels.append(np.stack([channel.numpy() for channel in found], -1))
        return np.concatenate(channels)

    def draw_light(self, count: int, seed: int) -> tuple[Array, Array]:
        """Directions [count, 3] to the environment, and radiance over density [count, 3] from there."""
        with dr.suspend_grad():
            number = dr.arange(mi.UInt32, count)
            numbers = PixelSequence(dr.zeros(mi.UInt32, count), number, dr.opaque(mi.UInt32, seed))
            offset, choice = numbers.next_2d(), numbers.next_1d()
            direction, radiance, density = self._light.draw(choice, offset, True)
            power = dr.select(density > 0, radiance / density, 0)
            dr.eval(direction, power)
        return direction.numpy().T.copy(), power.numpy().T.copy()

    def shadow_steps(self, points: Array, beside: Array, directions: Array) -> ShadowSteps:
        """What the light of directions [N, 3] does at points [N, 3], across from + to - beside [N, 3]."""
        with dr.suspend_grad():
            vectors = (mi.Vector3f(np.ascontiguousarray(values.T)) for values in (points, beside, directions))
            at_edge, below, lit_side, triangle = shadow_steps(self._around, *vectors)
            dr.eval(at_edge, below, lit_side, triangle)
        return ShadowSteps(
            at_edge.numpy().T.copy(),
            below.numpy().T.copy(),
            lit_side.numpy().copy(),
            triangle.numpy().astype(np.int64),
        )

    def _radiance(
        self, ray: Any, numbers: Any, adjoint: Any = None, at_outline: bool = False
    ) -> tuple[Any, Any]:
        """Radiance along camera rays, and whether they meet the surface."""
        colour, valid, onward = direct_radiance(self._around, ray, numbers, at_outline=at_outline)
        if self.layout.max_bounces > 1:
            colour += indirect_radiance(
                self._around, onward, self._sampler, self.layout.max_bounces - 1, adjoint
            )
        return colour, valid

    def _begin(self, width: int, height: int, samples: int, seed: int) -> tuple[Any, Any, Any]:
        """Each sample's pixel number, camera ray and random numbers, `samples` in a row for a pixel."""
        size = width * height * samples
        if self.layout.max_bounces > 1:
            self._sampler.seed(seed, size)
        # opaque, so that another image size or sample count does not mean another kernel
        across, count = dr.opaque(mi.UInt32, width), dr.opaque(mi.UInt32, samples)
        number = dr.arange(mi.UInt32, size)
        pixel = number // count
        numbers = PixelSequence(pixel, number - pixel * count, dr.opaque(mi.UInt32, seed))
        row = pixel // across
        offset = numbers.next_2d()
        x = mi.Float(pixel - row * across) + offset.x
        y = mi.Float(row) + offset.y
        return pixel, self._camera_ray(x, y), numbers

    def _camera_ray(self, x: Any, y: Any) -> Any:
        """Rays through points of the picture, in pixels."""
        # one gather a sample, so that the derivative is a scatter: that of a broadcast scalar would be a sum,
        # which cuts the kernel in two
        entry = [
            dr.gather(mi.Float, self._leaves["rays"], dr.full(mi.UInt32, index, dr.width(x)))
            for index in range(6)
        ]
        slope_x = entry[0] * x + entry[1] * y + entry[2]
        slope_y = entry[3] * x + entry[4] * y + entry[5]
        return mi.Ray3f(mi.Point3f(0), dr.normalize(mi.Vector3f(slope_x, slope_y, 1)))


def _passes(pixels: int, samples: int) -> list[int]:
    """Samples a pixel of each pass, as even as possible within WAVEFRONT."""
    passes = min(samples, -(-pixels * samples // WAVEFRONT))
    return [samples // passes + (number < samples % passes) for number in range(passes)]


def _bsdf_description(layout: SceneLayout) -> dict[str, Any]:
    description: dict[str, Any] = {"type": skin_bsdf.register(mi.variant())}
    for name, channels in (("diffuse", 3), ("specular", 1), ("roughness", 1)):
        if layout.map_size is None:
            description[name] = {"type": "mesh_attribute", "name": f"vertex_{name}"}
        else:
            description[name] = {
                "type": "bitmap",
                "data": mi.TensorXf(np.zeros((*layout.map_size, channels), np.float32)),
                "raw": True,
                "filter_type": "bilinear",
                "wrap_mode": "clamp",
            }
    return description
