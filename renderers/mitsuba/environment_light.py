"""The distant light of the ray tracer: a latitude-longitude map in the light frame, drawn by brightness."""

from __future__ import annotations

from functools import cache
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

BINS = 1 << 16  # resolution of the probabilities with which texels are drawn


class EnvironmentLight:
    """Radiance by direction, and directions by radiance.

    Radiance is interpolated bilinearly between texel centres, around the seam and held at the poles. Directions
    are camera-frame vectors (x right, y down, z forward) that point to where light comes from; the map lies in
    the light frame (x, -y, -z). Mitsuba's `envmap` does the same, but with minima and maxima, which LLVM 17
    cannot compile on every processor; here only selects stand where one could.

    Parameters
    ----------
    height: rows of the map; it has twice as many columns.
    """

    def __init__(self, height: int) -> None:
        self.rows = height
        self.columns = 2 * height

    def load(self, radiance: Any, texels: NDArray[np.float32]) -> None:
        """Take a new map: as a Dr.Jit buffer, which may carry gradients, and as an array [rows, columns, 3]."""
        self.radiance = radiance
        bins, density = sampling_table(texels)
        self.bins = mi.UInt32(bins)
        self.density = mi.Float(density)

    def draw(self, choice: Any, offset: Any, active: Any) -> tuple[Any, Any, Any]:
        """A detached direction, its radiance (differentiable), and its density in solid angle."""
        with dr.suspend_grad():
            texel = dr.gather(mi.UInt32, self.bins, mi.UInt32(choice * BINS), active)
            y = texel // self.columns
            row = mi.Float(y) + offset.y
            column = mi.Float(texel - y * self.columns) + offset.x
            sine, cosine = dr.sincos(row * (dr.pi / self.rows))
            sine_phi, cosine_phi = dr.sincos(column * (dr.two_pi / self.columns))
            direction = mi.Vector3f(sine * sine_phi, -cosine, sine * cosine_phi)
            density = dr.gather(mi.Float, self.density, texel, active) / (sine + 1e-12)
        return direction, self._radiance_at(row, column, active), density

    def look_up(self, direction: Any, active: Any) -> tuple[Any, Any]:
        """Radiance (differentiable) from detached directions, and the density with which `draw` finds them."""
        with dr.suspend_grad():
            x, y, z = direction.x, -direction.y, -direction.z
            sine = dr.sqrt(dr.square(x) + dr.square(z))
            row = _arc_cosine(y) * (self.rows * dr.inv_pi)
            half_turn = _arc_cosine(-z / (sine + 1e-12)) * (self.columns * dr.inv_two_pi)
            column = dr.select(x < 0, self.columns - half_turn, half_turn)
            in_row, in_column = mi.UInt32(row), mi.UInt32(column)
            in_row = dr.select(in_row >= self.rows, self.rows - 1, in_row)
            in_column = dr.select(in_column >= self.columns, 0, in_column)
            density = dr.gather(mi.Float, self.density, in_row * self.columns + in_column, active)
        return self._radiance_at(row, column, active), density / (sine + 1e-12)

    def _radiance_at(self, row: Any, column: Any, active: Any) -> Any:
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


def _arc_cosine(x: Any) -> Any:
    return dr.acos(dr.select(x > 1, 1, dr.select(x < -1, -1, x)))


def sampling_table(texels: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """How to draw texels of a map [H, W, 3] in proportion to their flux, and how likely each is.

    Returns
    -------
    bins: [BINS] texel numbers along a Z curve; a uniformly drawn entry is a texel drawn by flux, to 1 / BINS.
    density: [H * W] its probability per (row angle x column angle); divided by sin theta, per solid angle.
    It is exactly that of `bins`, so rounding costs noise in faint texels, not bias.
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
