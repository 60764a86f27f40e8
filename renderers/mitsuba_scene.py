"""A Mitsuba scene of one mesh under one environment, held in memory and updated in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from renderers import skin_bsdf
from renderers.light_transport import radiance

Array = NDArray[np.float32]

LEAVES = ("positions", "normals", "diffuse", "specular", "roughness", "environment", "rays")
"""What can change between draws, and what gradients reach.

positions, normals: [P, 3] in the camera frame; diffuse, specular, roughness: [P, C] or [H, W, C];
environment: [H, 2H, 3] in the light frame; rays: [2, 3], the upper rows of the inverse camera matrix.
"""

WAVEFRONT = 1 << 22  # samples drawn at once: bounds memory at about 200 MB


@dataclass(frozen=True)
class Layout:
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

    def __init__(self, layout: Layout, triangles: NDArray[np.uint32], uvs: Array | None) -> None:
        self.layout = layout
        self._leaves: dict[str, Any] = {}
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
        height = layout.environment_height
        to_world = mi.ScalarTransform4f(np.diag([1.0, -1.0, -1.0, 1.0]))  # light frame to camera frame
        self._light = mi.load_dict(
            {
                "type": "envmap",
                "bitmap": mi.Bitmap(np.ones((height, 2 * height, 3), np.float32)),
                "to_world": to_world,
            }
        )
        self._scene = mi.load_dict({"type": "scene", "mesh": mesh, "light": self._light})
        self._parameters = mi.traverse(self._scene)
        names = {
            "positions": "mesh.vertex_positions",
            "normals": "mesh.vertex_normals",
            "environment": "light.data",
        }
        for name in ("diffuse", "specular", "roughness"):
            names[name] = f"mesh.bsdf.{name}.data" if layout.map_size else f"mesh.vertex_{name}"
        self._names = names
        self._parameters.keep(list(names.values()))
        self._tail = None
        if layout.max_bounces > 1:
            self._tail = mi.load_dict(
                {"type": "prb", "max_depth": layout.max_bounces, "rr_depth": 1000, "hide_emitters": True}
            )
        self._sampler = mi.load_dict({"type": "independent"})

    def load(self, values: dict[str, Array], tracked: set[str]) -> None:
        """Put new values of some leaves into the scene; gradients will reach those that are `tracked`."""
        for name, value in values.items():
            if name == "rays":
                leaf = mi.Float(value.ravel())
            elif name == "environment":
                # Mitsuba wants the first column once more at the right edge
                leaf = mi.TensorXf(np.concatenate([value, value[:, :1]], 1))
            elif value.ndim == 3:
                leaf = mi.TensorXf(value)
            else:
                leaf = mi.Float(value.ravel())
            if name in tracked:
                dr.enable_grad(leaf)
            self._leaves[name] = leaf
            if name in self._names:
                self._parameters[self._names[name]] = leaf
        self._parameters.update()

    def draw(self, width: int, height: int, samples: int, seed: int) -> Array:
        """The image [height, width, 4] of what is loaded: linear radiance and coverage."""
        total = [dr.zeros(mi.Float, width * height) for _ in range(4)]
        with dr.suspend_grad():
            for number, count in enumerate(_passes(width * height, samples)):
                _, ray = self._begin(width, height, count, derived_seed(seed, number))
                colour, valid = radiance(self._scene, self._bsdf, self._light, self._tail, self._sampler, ray)
                channels = [*colour, dr.select(valid, mi.Float(1), 0)]
                dr.eval(channels)  # together, so that one kernel draws them
                total = [
                    sum_ + dr.block_sum(channel, count, mode="evaluated")
                    for sum_, channel in zip(total, channels, strict=True)
                ]
        image = np.stack([channel.numpy() for channel in total], -1) / samples
        return image.reshape(height, width, 4).astype(np.float32)

    def gradients(
        self, adjoint: Array, width: int, height: int, samples: int, seed: int, wanted: set[str]
    ) -> dict[str, Array]:
        """Gradients by the wanted leaves of sum(adjoint * image), with adjoint [height, width, 3].

        The wanted leaves must have been tracked when they were loaded.
        """
        leaves = {name: self._leaves[name] for name in LEAVES if name in wanted}
        dr.clear_grad(leaves)
        try:
            weights = mi.Float(adjoint.ravel() / samples)
            for number, count in enumerate(_passes(width * height, samples)):
                pixel, ray = self._begin(width, height, count, derived_seed(seed, number))
                weight = dr.gather(mi.Color3f, weights, pixel)
                colour, _ = radiance(
                    self._scene, self._bsdf, self._light, self._tail, self._sampler, ray, weight
                )
                dr.backward_from(weight * colour)
                del colour, ray
                dr.eval(dr.grad(leaves))
            # a copy, because the array that Dr.Jit gives may be a view of memory that it reuses
            result = {name: dr.grad(leaf).numpy().copy() for name, leaf in leaves.items()}
        finally:
            dr.clear_grad(leaves)
        if "environment" in result:
            padded = result["environment"]
            padded[:, 0] += padded[:, -1]
            result["environment"] = padded[:, :-1]
        return result

    def _begin(self, width: int, height: int, samples: int, seed: int) -> tuple[Any, Any]:
        """Seed the sampler and make camera rays, `samples` in a row for each pixel; returns (pixel, ray)."""
        size = width * height * samples
        self._sampler.set_sample_count(samples)
        self._sampler.seed(seed, size)
        # opaque, so that another image size or sample count does not mean another kernel
        across, count = dr.opaque(mi.UInt32, width), dr.opaque(mi.UInt32, samples)
        pixel = dr.arange(mi.UInt32, size) // count
        row = pixel // across
        offset = self._sampler.next_2d()
        x = mi.Float(pixel - row * across) + offset.x
        y = mi.Float(row) + offset.y
        entry = [dr.gather(mi.Float, self._leaves["rays"], index) for index in range(6)]
        direction = mi.Vector3f(
            entry[0] * x + entry[1] * y + entry[2], entry[3] * x + entry[4] * y + entry[5], 1
        )
        return pixel, mi.Ray3f(mi.Point3f(0), dr.normalize(direction))


def derived_seed(*words: int) -> int:
    """A 32-bit seed that mixes non-negative integers: NumPy's SeedSequence over them, first word.

    Different words give unrelated seeds, so photos, passes and the backward pass share no random numbers.
    """
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _passes(pixels: int, samples: int) -> list[int]:
    """Samples a pixel of each pass, as even as possible within WAVEFRONT."""
    passes = min(samples, -(-pixels * samples // WAVEFRONT))
    return [samples // passes + (number < samples % passes) for number in range(passes)]


def _bsdf_description(layout: Layout) -> dict[str, Any]:
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
