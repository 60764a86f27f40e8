"""Densities of colours in a photo, and of the colours that skin takes under other light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
from scipy import ndimage

from nextface.scene.colour import linear_to_srgb, srgb_to_linear

_BIN = 3.0  # in units of CIE Lab
_LOW = (0.0, -60.0, -60.0)
_COUNTS = (34, 40, 40)

SHADES = 2.0 ** np.arange(-2.5, 1.01, 0.5)  # light on the skin, relative to where its colour was learned
HIGHLIGHTS = ((0.0, 1.0), (0.05, 0.3), (0.15, 0.1), (0.4, 0.03))  # linear white on top, and how often
DARKEST_SHADOW = 0.1  # of the luminance of lit skin


@dataclass(frozen=True)
class ColourDensity:
    """A smoothed histogram of CIE Lab colours, of sum 1 (or 0 where there were no colours)."""

    table: np.ndarray  # [34, 40, 40]

    UNIFORM: ClassVar[float] = 1 / float(np.prod(_COUNTS))  # the density that knows nothing

    @classmethod
    def of(cls, lab: np.ndarray) -> ColourDensity:
        """The density of colours [P, 3] in CIE Lab."""
        edges = [low + _BIN * np.arange(count + 1) for low, count in zip(_LOW, _COUNTS, strict=True)]
        counts, _ = np.histogramdd(lab, bins=edges)
        smooth = ndimage.gaussian_filter(counts, 1.0)
        return cls(smooth / max(float(smooth.sum()), 1.0))

    @classmethod
    def of_lit_skin(cls, srgb: np.ndarray) -> ColourDensity:
        """The density of what sRGB-encoded colours [P, 3] become under more and less light and gloss."""
        linear = srgb_to_linear(srgb)
        table = np.zeros(_COUNTS)
        for shade in SHADES:
            for highlight, weight in HIGHLIGHTS:
                lit = linear_to_srgb(np.clip(linear * shade + highlight, 0, 1)).astype(np.float32)
                table += weight * cls.of(cv2.cvtColor(lit[None], cv2.COLOR_RGB2LAB)[0]).table
        return cls(table / max(float(table.sum()), 1e-9))

    def mixed(self, other: ColourDensity, share: float) -> ColourDensity:
        """This density with `share` of another in it."""
        return ColourDensity((1 - share) * self.table + share * other.table)

    def at(self, lab: np.ndarray) -> np.ndarray:
        """The density [...] at colours [..., 3] in CIE Lab."""
        bins = ((lab - np.array(_LOW)) / _BIN).astype(int).clip(0, np.array(_COUNTS) - 1)
        return self.table[bins[..., 0], bins[..., 1], bins[..., 2]]


def without_dark(srgb: np.ndarray) -> np.ndarray:
    """sRGB-encoded colours [P, 3] less those too dark to be the same skin in shadow: nostrils, glasses."""
    luminance = srgb_to_linear(srgb) @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return srgb[luminance >= DARKEST_SHADOW * np.quantile(luminance, 0.75)]
