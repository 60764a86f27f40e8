"""What a light sends onto surfaces, as the nine numbers a colour that engines take for it.

All are for E / pi, the radiance that a white diffuse surface sends out, where E(n) is the integral of
L(d) max(n.d, 0). By Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps",
SIGGRAPH 2001, three bands hold all but about 1 % of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nextface.scene.lighting import cosine_kernel, scale_bands, sh_rotation, with_bands

BANDS = 3
UNITY = torch.tensor([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # the head's frame to left-handed x, y up, z
UNREAL = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])  # the head's frame to left-handed x, y, z up
"""As glTF importers of the two turn meshes: the face looks along +z in Unity, along +y in Unreal."""


def unity_irradiance(coefficients: Tensor) -> Tensor:
    """`SphericalHarmonicsL2` [9, 3] of radiance coefficients [bands^2, 3] in the head's frame.

    Unity's polynomials are 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2 of the normal; all factors are in the
    coefficients.
    """
    turned = _turned(coefficients, UNITY)
    lambert = scale_bands(turned[None], cosine_kernel(BANDS) / math.pi)[0]
    return lambert * _FACTORS[:, None]


def unreal_irradiance(coefficients: Tensor) -> Tensor:
    """`FSHVectorRGB3` [9, 3] of radiance coefficients [bands^2, 3] in the head's frame.

    Unreal holds radiance and convolves it while it draws. Its basis is orthonormal, with Condon and Shortley's
    sign: minus where m is odd.
    """
    return _turned(coefficients, UNREAL) * _SIGNS[:, None]


_FACTORS = torch.tensor(  # of the polynomials in orthonormal harmonics
    [
        math.sqrt(value / math.pi)
        for value in (1 / 4, 3 / 4, 3 / 4, 3 / 4, 15 / 4, 15 / 4, 5 / 16, 15 / 4, 15 / 16)
    ],
    dtype=torch.float64,
)
_SIGNS = torch.tensor([1, -1, 1, -1, 1, -1, 1, -1, 1], dtype=torch.float64)


def _turned(coefficients: Tensor, frame: Tensor) -> Tensor:
    """The first three bands in another frame, which may be of the other hand."""
    known = with_bands(coefficients[None].double(), BANDS)
    return (sh_rotation(frame.double(), BANDS) @ known)[0]
