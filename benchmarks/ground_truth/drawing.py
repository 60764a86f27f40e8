"""Path tracing with Mitsuba's own mesh, `principled`, `envmap` and `path`, and none of the project's renderers.

Surfaces are in the camera frame (x right, y down, z forward, mm), maps in the light frame.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextface.errors import MissingPartError
from nextface.system.threads import available_cores
from renderers.mitsuba.llvm import chosen_llvm

Array = NDArray[np.float64]

MAX_DEPTH = 5  # segments of a light path: up to four surface reflections
PASS = 1 << 24  # light paths drawn at once: bounds memory at about 1 GB
GRID = 4  # rays across a pixel that tell what it shows


@dataclass(frozen=True)
class Surface:
    """A mesh of P vertices with Disney's principled BSDF."""

    vertices: Array  # [P, 3] mm
    triangles: NDArray[np.integer]  # [F, 3]
    colour: Array  # [P, 3] linear base colour
    roughness: Array  # [P]
    specular: float  # F0 / 0.08


@dataclass(frozen=True)
class Sightings:
    """What rays through the pixels meet first: GRID^2 rays for each pixel."""

    surface: NDArray[np.int64]  # [h, w, GRID^2], -1 for none
    triangle: NDArray[np.int64]  # [h, w, GRID^2]
    barycentric: Array  # [h, w, GRID^2, 3]
    facing: Array  # [h, w, GRID^2], cosine between the shading normal and the ray back

    def of(self, number: int, triangles: NDArray[np.integer], values: Array) -> Array:
        """Vertex values [P, C] of surface `number` where it is met, [h, w, GRID^2, C]; 0 elsewhere."""
        met = self.surface == number
        found = np.zeros((*met.shape, values.shape[1]))
        found[met] = np.einsum("rk,rkc->rc", self.barycentric[met], values[triangles[self.triangle[met]]])
        return found


class Studio:
    """Surfaces in front of a pinhole camera with its principal point in the picture's middle.

    Parameters
    ----------
    surfaces: what to draw.
    focal: focal length in pixels.
    size: width and height of the picture in pixels.
    """

    def __init__(self, surfaces: list[Surface], focal: float, size: int) -> None:
        self.surfaces, self.focal, self.size = surfaces, focal, size
        self._meshes = {
            f"surface{number}": self._painted(f"surface{number}", surface)
            for number, surface in enumerate(surfaces)
        }

    @property
    def intrinsics(self) -> Array:
        """The camera's matrix [3, 3] in pixels."""
        middle = self.size / 2
        return np.array([[self.focal, 0, middle], [0, self.focal, middle], [0, 0, 1.0]])

    def project(self, points: Array) -> Array:
        """Pixel positions [..., 2] of points [..., 3]."""
        return self.focal * points[..., :2] / points[..., 2:] + self.size / 2

    def radiance(self, environment: NDArray[np.floating], samples: int, seed: int) -> NDArray[np.float32]:
        """Radiance and coverage [h, w, 4], premultiplied, under a map [H, 2H, 3] that is not seen behind.

        `samples` light paths a pixel, multi-jittered: choose a square.
        """
        mi = mitsuba()
        light = {
            "type": "envmap",
            "bitmap": mi.Bitmap(at_mitsuba_rows(environment)),
            "to_world": mi.ScalarTransform4f(np.diag([1.0, -1.0, -1.0, 1.0])),  # light frame to camera
        }
        scene = mi.load_dict({"type": "scene", **self._meshes, "light": light})
        integrator = {"type": "path", "max_depth": MAX_DEPTH, "hide_emitters": True}
        return self._draw(scene, integrator, self.size, samples, "multijitter", seed, 4)

    def sightings(self, seed: int) -> Sightings:
        """What each pixel shows, by rays at random places of a grid within it."""
        parts = self.surfaces
        ends = np.cumsum([len(part.triangles) for part in parts])
        shifts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        together = self._mesh(
            "together",
            np.concatenate([part.vertices for part in parts]),
            np.concatenate([part.triangles + shift for part, shift in zip(parts, shifts, strict=True)]),
            {"type": "diffuse"},
        )
        integrator = {"type": "aov", "aovs": "p:position,n:sh_normal,b:uv,t:prim_index"}
        scene = mitsuba().load_dict({"type": "scene", "together": together})
        drawn = self._draw(scene, integrator, self.size * GRID, 1, "independent", seed, 9)
        by_pixel = drawn.reshape(self.size, GRID, self.size, GRID, 9).swapaxes(1, 2)
        position, normal, uv, number = np.split(
            by_pixel.reshape(self.size, self.size, GRID * GRID, 9), [3, 6, 8], -1
        )
        distance, number = np.linalg.norm(position, axis=-1), number[..., 0].astype(int)
        surface = np.searchsorted(ends, number, "right")
        return Sightings(
            np.where(distance > 0, surface, -1),
            number - np.array([0, *ends[:-1]])[surface],
            np.concatenate([1 - uv.sum(-1, keepdims=True), uv], -1),
            -(position * normal).sum(-1) / np.maximum(distance, 1e-9),
        )

    def albedo(self, sightings: Sightings) -> NDArray[np.float32]:
        """Directional albedo of the diffuse lobe towards the camera, [h, w, 3], premultiplied by coverage."""
        total = np.zeros((self.size, self.size, 3))
        for number, surface in enumerate(self.surfaces):
            values = np.concatenate([surface.colour, surface.roughness[:, None]], 1)
            found = sightings.of(number, surface.triangles, values)
            met = sightings.surface == number
            lobe = np.where(met, diffuse_albedo(sightings.facing, found[..., 3]), 0.0)
            total += (found[..., :3] * lobe[..., None]).mean(2)
        return total.astype(np.float32)

    def _draw(
        self,
        scene: Any,
        integrator: dict[str, Any],
        size: int,
        samples: int,
        sampler: str,
        seed: int,
        channels: int,
    ) -> NDArray[np.float32]:
        """The picture [size, size, channels], drawn in bands within what surfaces can touch."""
        mi = mitsuba()
        tracer = mi.load_dict(integrator)
        image = np.zeros((size, size, channels), np.float32)
        scale = size // self.size
        left, top, right, bottom = (scale * edge for edge in self._bounds())
        rows = max(1, PASS // (samples * (right - left)))
        for number, row in enumerate(range(top, bottom, rows)):
            height = min(rows, bottom - row)
            sensor = self._sensor(size, (left, row, right - left, height), samples, sampler)
            drawn = mi.render(scene, sensor=sensor, integrator=tracer, seed=seed * 1000 + number)
            image[row : row + height, left:right] = np.array(drawn)[..., :channels]
        return image

    def _bounds(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the pixels that surfaces can touch."""
        points = np.concatenate([self.project(surface.vertices) for surface in self.surfaces])
        low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
        (left, top), (right, bottom) = np.clip(low, 0, self.size - 1), np.clip(high, 1, self.size)
        return int(left), int(top), int(right), int(bottom)

    def _sensor(self, size: int, crop: tuple[int, int, int, int], samples: int, sampler: str) -> Any:
        mi = mitsuba()
        film = {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgba"}
        film |= dict(zip(("crop_offset_x", "crop_offset_y", "crop_width", "crop_height"), crop, strict=True))
        return mi.load_dict(
            {
                "type": "perspective",
                "fov_axis": "x",
                "fov": float(np.degrees(2 * np.arctan(self.size / 2 / self.focal))),
                "to_world": mi.ScalarTransform4f().look_at([0, 0, 0], [0, 0, 1], [0, -1, 0]),
                "near_clip": 1.0,
                "far_clip": 1e4,
                "film": {**film, "rfilter": {"type": "box"}},
                "sampler": {"type": sampler, "sample_count": samples},
            }
        )

    def _painted(self, name: str, surface: Surface) -> Any:
        mesh = self._mesh(
            name,
            surface.vertices,
            surface.triangles,
            {
                "type": "principled",
                "base_color": {"type": "mesh_attribute", "name": "vertex_colour"},
                "roughness": {"type": "mesh_attribute", "name": "vertex_roughness"},
                "specular": surface.specular,
            },
        )
        mesh.add_attribute("vertex_colour", 3, surface.colour.astype(np.float32).ravel())
        mesh.add_attribute("vertex_roughness", 1, surface.roughness.astype(np.float32).ravel())
        return mesh

    def _mesh(self, name: str, vertices: Array, triangles: NDArray[np.integer], bsdf: dict[str, Any]) -> Any:
        mi = mitsuba()
        properties = mi.Properties()
        properties["bsdf"] = mi.load_dict(bsdf)
        mesh = mi.Mesh(name, len(vertices), len(triangles), properties, has_vertex_normals=True)
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = vertices.astype(np.float32).ravel()
        parameters["faces"] = triangles.astype(np.uint32).ravel()
        parameters.update()
        return mesh


def at_mitsuba_rows(environment: NDArray[np.floating], finer: int = 4) -> NDArray[np.float32]:
    """A map [H, 2H, 3] as Mitsuba's `envmap` wants it, [finer * H + 1, 2H, 3].

    Its first and last rows are the poles themselves; this project's are half a texel away from them. So rows
    are repeated, and those on the edge between two are the mean of both.
    """
    node = np.arange(finer * len(environment) + 1)
    above, below = np.maximum(node - 1, 0) // finer, np.minimum(node // finer, len(environment) - 1)
    return ((environment[above] + environment[below]) / 2).astype(np.float32)


def diffuse_albedo(cosine: Array, roughness: Array) -> Array:
    """Directional albedo of the diffuse lobe of Mitsuba's `principled` for a base colour of 1.

    The lobe is Burley's, "Physically based shading at Disney", SIGGRAPH 2012 course, section 5.3, split into a
    part that grazing directions lose and a part that rough surfaces send back.

    Parameters
    ----------
    cosine: between the normal and the view, any shape, positive.
    roughness: of the same shape, in [0, 1].
    """
    table = _diffuse_albedo_table()
    position = [
        np.clip(value, 0, 1) * (size - 1) for value, size in zip((cosine, roughness), table.shape, strict=True)
    ]
    low = [np.minimum(value.astype(int), size - 2) for value, size in zip(position, table.shape, strict=True)]
    (x, y), (i, j) = (value - floor for value, floor in zip(position, low, strict=True)), low
    near = table[i, j] * (1 - y) + table[i, j + 1] * y
    far = table[i + 1, j] * (1 - y) + table[i + 1, j + 1] * y
    return near * (1 - x) + far * x


@cache
def _diffuse_albedo_table(cosines: int = 129, roughnesses: int = 33, steps: int = 96) -> Array:
    """`diffuse_albedo` at even steps of both, [cosines, roughnesses], by midpoints over the hemisphere."""
    middle = (np.arange(steps) + 0.5) / steps
    in_cosine, azimuth = (
        np.sqrt(middle)[:, None],
        np.pi * middle[None, :],
    )  # by the cosine, so weights are equal
    in_sine = np.sqrt(1 - in_cosine**2)
    table = np.empty((cosines, roughnesses))
    rough = np.linspace(0, 1, roughnesses)[:, None, None]
    for row, out_cosine in enumerate(np.linspace(0, 1, cosines)):
        between = in_cosine * out_cosine + in_sine * np.sqrt(1 - out_cosine**2) * np.cos(azimuth)
        half_squared = (1 + between) / 2  # cosine squared between half vector and either direction
        graze_in, graze_out = (1 - in_cosine) ** 5, (1 - out_cosine) ** 5
        back = 2 * rough * half_squared
        lobe = (1 - graze_in / 2) * (1 - graze_out / 2)
        lobe = lobe + back * (graze_in + graze_out + graze_in * graze_out * (back - 1))
        table[row] = lobe.mean((1, 2))
    return table


def mitsuba() -> Any:
    """Mitsuba with a CPU variant current: compiled where LLVM can, else the one that needs no LLVM."""
    import mitsuba as mi

    if mi.variant() != _variant():
        mi.set_variant(_variant())
    return mi


@cache
def _variant() -> str:
    try:
        with chosen_llvm() as library:
            slow = (
                f"{library.path} is LLVM {library.version}" if int(library.version.split(".")[0]) < 18 else None
            )
            if slow is None:
                import mitsuba as mi

                mi.set_variant("llvm_ad_rgb")  # while the library is chosen
    except MissingPartError:
        slow = "there is no LLVM here"
    if slow:
        # LLVM 17 cannot compile the minima and maxima of Mitsuba's `envmap` on every processor, and aborts.
        warnings.warn(f"drawing takes three times as long: {slow}; LLVM 18 or newer helps", stacklevel=3)
        return "scalar_rgb"
    import drjit

    drjit.set_thread_count(available_cores())
    return "llvm_ad_rgb"
