"""Films of a high dynamic range as sRGB.

Linear light comes from the transfer functions of ITU-R BT.2100 (perceptual quantisation and hybrid log-gamma,
tables 4 and 5), colours from BT.2020's primaries by the matrix of BT.2087. Light is counted in units of the
reference white of BT.2408, 203 cd/m2, which becomes sRGB's white. So skin stays linear in the light, as fitting
needs it; only what is brighter than `KNEE` is compressed, with its hue.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nextface.scene.colour import linear_to_srgb

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
TRANSFERS = {PQ: "PQ, SMPTE ST 2084", HLG: "HLG, ARIB STD-B67"}
REFERENCE_WHITE = 203.0  # cd/m2
HLG_PEAK = 1000.0  # cd/m2 of the display that hybrid log-gamma is meant for
HLG_GAMMA = 1.2  # of that display's whole transfer
KNEE = 0.8  # of white, up to which light stays as it is
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
TO_SRGB = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def tone_mapped(encoded: np.ndarray, transfer: int) -> np.ndarray:
    """sRGB [H, W, 3] uint8 of BT.2020 code values [H, W, 3] uint16 (65535 is 1).

    Parameters
    ----------
    transfer: `PQ` or `HLG`.
    """
    light = _curve(transfer)[encoded]
    if transfer == HLG:
        scene = light @ LUMINANCE
        light = light * (np.maximum(scene, 1e-6) ** (HLG_GAMMA - 1) * HLG_PEAK)[..., None]
    light = np.maximum((light / REFERENCE_WHITE) @ TO_SRGB.T, 0)
    brightest = light.max(-1, keepdims=True)
    excess = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
    shown = np.where(excess > 0, KNEE + (1 - KNEE) * (1 - np.exp(-excess)), brightest)
    light = light * (shown / np.maximum(brightest, 1e-6))
    return np.round(np.clip(linear_to_srgb(light), 0, 1) * 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _curve(transfer: int) -> np.ndarray:
    """What each of 65536 code values means: cd/m2 on a display (PQ), or the scene's light in [0, 1] (HLG)."""
    code = np.linspace(0, 1, 65536)
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        power = code ** (1 / m2)
        return (1e4 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
