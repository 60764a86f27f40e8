"""The distant light as a Mitsuba emitter: a latitude-longitude map in the light frame, sampled by brightness."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLUGIN = "nextface_environment"
BINS = 1 << 16  # resolution of the light's sampling probabilities


@cache
def register(variant: str) -> str:
    """Register the emitter with the current Mitsuba variant, once a process; returns the plugin's name.

    Radiance is interpolated bilinearly between texel centres, around the seam and held at the poles. Directions
    are camera-frame vectors (x right, y down, z forward) that point to where light comes from; the map lies in
    the light frame (x, -y, -z). Only selects stand where a minimum or maximum could: LLVM 17 cannot compile
    these on every processor, and Mitsuba's own `envmap` has them.

    Properties of the plugin: `height`. Parameter: `radiance`, a flat buffer of height x 2 height x 3 floats.
    """
    import drjit as dr
    import mitsuba as mi

    if mi.variant() != variant:
        raise RuntimeError(f"the current Mitsuba variant is {mi.variant()}, not {variant}")

    class EnvironmentLight(mi.Emitter):
        def __init__(self, properties: Any) -> None:
            mi.Emitter.__init__(self, properties)
            self.rows = int(properties["height"])
            self.columns = 2 * self.rows
            self.m_flags = +mi.EmitterFlags.Infinite | +mi.EmitterFlags.SpatiallyVarying
            self.m_needs_sample_2 = False
            self.m_needs_sample_3 = False
            self.load(dr.full(mi.Float, 1, self.rows * self.columns * 3))

        def load(self, radiance: Any) -> None:
            """Take a new map: a flat buffer [rows * columns * 3]."""
            self.radiance = radiance
            texels = dr.detach(radiance).numpy().reshape(self.rows, self.columns, 3)
            bins, density = sampling_table(texels)
            self.bins = mi.UInt32(bins)
            self.density = mi.Float(density)

        def traverse(self, callback: Any) -> None:
            callback.put("radiance", self.radiance, mi.ParamFlags.Differentiable)

        def radiance_at(self, row: Any, column: Any, active: Any) -> Any:
            """Radiance at a continuous map position in texels, (0, 0) being the corner of the first texel."""
            left, top = dr.floor(column - 0.5), dr.floor(row - 0.5)
            across, down = column - 0.5 - left, row - 0.5 - top
            x0, y0 = mi.Int32(left), mi.Int32(top)
            x1, y1 = x0 + 1, y0 + 1
            x0 = dr.select(x0 < 0, self.columns - 1, x0)
            x1 = dr.select(x1 >= self.columns, 0, x1)
            y0 = dr.select(y0 < 0, 0, y0)
            y1 = dr.select(y1 >= self.rows, self.rows - 1, y1)

            def texel(y: Any, x: Any) -> Any:
                return dr.gather(mi.Color3f, self.radiance, mi.UInt32(y * self.columns + x), active)

            upper = dr.lerp(texel(y0, x0), texel(y0, x1), across)
            lower = dr.lerp(texel(y1, x0), texel(y1, x1), across)
            return dr.lerp(upper, lower, down)

        def locate(self, direction: Any) -> tuple[Any, Any, Any]:
            """Continuous row, column, and sine of the polar angle of camera-frame directions."""
            x, y, z = direction.x, -direction.y, -direction.z
            sine = dr.sqrt(dr.square(x) + dr.square(z))
            row = arc_cosine(y) * (self.rows * dr.inv_pi)
            half_turn = arc_cosine(-z / (sine + 1e-12)) * (self.columns * dr.inv_two_pi)
            column = dr.select(x < 0, self.columns - half_turn, half_turn)
            return row, column, sine

        def density_at(self, row: Any, column: Any, sine: Any, active: Any) -> Any:
            """Solid-angle density of `draw`."""
            y, x = mi.UInt32(row), mi.UInt32(column)
            y = dr.select(y >= self.rows, self.rows - 1, y)
            x = dr.select(x >= self.columns, 0, x)
            return dr.gather(mi.Float, self.density, y * self.columns + x, active) / (sine + 1e-12)

        def look_up(self, direction: Any, active: Any) -> tuple[Any, Any]:
            """Radiance from detached camera-frame directions, and the density with which `draw` finds them."""
            with dr.suspend_grad():
                row, column, sine = self.locate(direction)
                density = self.density_at(row, column, sine, active)
            return self.radiance_at(row, column, active), density

        def draw(self, choice: Any, offset: Any, active: Any) -> tuple[Any, Any, Any]:
            """A detached camera-frame direction, its radiance (differentiable) and its density."""
            with dr.suspend_grad():
                texel = dr.gather(mi.UInt32, self.bins, mi.UInt32(choice * BINS), active)
                y = texel // self.columns
                row = mi.Float(y) + offset.y
                column = mi.Float(texel - y * self.columns) + offset.x
                sine, cosine = dr.sincos(row * (dr.pi / self.rows))
                sine_phi, cosine_phi = dr.sincos(column * (dr.two_pi / self.columns))
                direction = mi.Vector3f(sine * sine_phi, -cosine, sine * cosine_phi)
                density = dr.gather(mi.Float, self.density, texel, active) / (sine + 1e-12)
            return direction, self.radiance_at(row, column, active), density

        # What Mitsuba's own integrators ask of an emitter

        def eval(self, si: Any, active: Any = True) -> Any:
            return self.look_up(-si.wi, active)[0]

        def sample_direction(self, it: Any, sample: Any, active: Any = True) -> tuple[Any, Any]:
            # one of the two numbers chooses a bin, and what is left of it the place in the texel
            scaled = sample.x * BINS
            left_over = scaled - dr.floor(scaled)
            direction, radiance, density = self.draw(sample.x, mi.Point2f(left_over, sample.y), active)
            far = 1e7  # mm
            record = dr.zeros(mi.DirectionSample3f, dr.width(direction))
            record.p = it.p + far * direction
            record.n = -direction
            record.d = direction
            record.dist = far
            record.pdf = dr.select(active, density, 0)
            record.delta = mi.Bool(False)
            record.emitter = mi.EmitterPtr(self)
            return record, dr.select(record.pdf > 0, radiance / density, 0)

        def pdf_direction(self, it: Any, ds: Any, active: Any = True) -> Any:
            return self.look_up(ds.d, active)[1]

        def eval_direction(self, it: Any, ds: Any, active: Any = True) -> Any:
            return self.look_up(ds.d, active)[0]

        def bbox(self) -> Any:
            return mi.ScalarBoundingBox3f()

        def to_string(self) -> str:
            return f"EnvironmentLight[{self.rows} x {self.columns}]"

    def arc_cosine(x: Any) -> Any:
        return dr.acos(dr.select(x > 1, 1, dr.select(x < -1, -1, x)))

    mi.register_emitter(PLUGIN, lambda properties: EnvironmentLight(properties))
    return PLUGIN


def sampling_table(texels: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """How to draw texels of a map [H, W, 3] in proportion to their flux, and how likely each is.

    Returns
    -------
    bins: [BINS] texel numbers along a Z curve; a uniformly drawn entry is a texel drawn by flux, to 1 / BINS.
    density: [H * W] its probability per (row angle x column angle); divided by sin theta, per solid angle. It is
    exactly that of `bins`, so rounding costs noise in faint texels, not bias.
    """
    height, width = texels.shape[:2]
    sine = np.sin(np.pi * (np.arange(height) + 0.5) / height)
    flux = (np.maximum(texels, 0).sum(-1, dtype=np.float64) * sine[:, None]).ravel()
    total = flux.sum()
    share = flux / total if np.isfinite(total) and total > 0 else np.full(flux.shape, 1 / flux.size)
    order = _z_order(height, width)
    ends = np.floor(np.cumsum(share[order]) * BINS + 0.5).astype(np.int64)
    ends[-1] = BINS
    counts = np.diff(ends, prepend=0)
    bins = np.repeat(order.astype(np.uint32), counts)
    cell = (np.pi / height) * (2 * np.pi / width)
    density = np.empty(flux.size, np.float32)
    density[order] = counts / (BINS * cell)
    return bins, density


@cache
def _z_order(height: int, width: int) -> NDArray[np.int64]:
    """Texel numbers along a Z curve, on which numbers that are spread evenly in 1D are so in 2D, too."""
    rows, columns = np.divmod(np.arange(height * width), width)
    code = np.zeros(height * width, np.int64)
    for bit in range(max(height, width).bit_length()):
        code |= (columns >> bit & 1) << (2 * bit) | (rows >> bit & 1) << (2 * bit + 1)
    return np.argsort(code)
