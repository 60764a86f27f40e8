"""What heads differ in beyond the population: smooth changes of the face, likelier the more symmetric.

Principal components know only what their population varies, and pull every other face towards it. A Gaussian
process of smooth deformations, added to them, lets a face depart from the population a little in any smooth
way (Luethi, Gerig, Jud, Vetter 2017, Gaussian Process Morphable Models, section 4.3: models of bias).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from scipy.spatial.distance import cdist
from scipy.special import expit

from .statistics import FLIP

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

SPREAD, LENGTH = 1.5, 30.0  # mm: standard deviation along each axis, and how far it reaches
ASYMMETRY = 0.3  # of the standard deviation, for changes that are not alike on both sides
FACE, FADING = 110.0, 10.0  # mm from the nose's tip: where variation ends, and how softly
NEIGHBOURHOOD = 8.0  # mm, within which control points share their weight: they lie closer about eyes and lips


def components(mean: Array, mirror: Indices, count: int) -> Array:
    """The `count` strongest components [K, C, 3] (mm a standard deviation) of the process at control points.

    Each is symmetric or antisymmetric. Components come from the kernel's weighted eigenvectors (the Nystrom
    method; Rasmussen and Williams 2006, section 4.3.2).
    """
    squares = cdist(mean, mean, "sqeuclidean")
    away = np.linalg.norm(mean - mean[mean[:, 2].argmax()], axis=1)
    inside = expit((FACE - away) / FADING)
    kernel = SPREAD**2 * np.exp(-squares / (2 * LENGTH**2)) * inside[:, None] * inside
    share = (squares < NEIGHBOURHOOD**2).sum(1) ** -0.5
    # Symmetric changes of x are odd across the midline, those of y and z even; antisymmetric ones the reverse.
    scalars = {}
    for parity in (1.0, -1.0):
        half = (kernel + parity * kernel[:, mirror]) / 2
        # A start and signs of our own: they are arbitrary, and the file is to be the same every time.
        variance, vectors = eigsh(share[:, None] * half * share, k=count, which="LA", v0=np.ones(len(mean)))
        vectors *= np.sign(vectors[abs(vectors).argmax(0), np.arange(count)])
        scalars[parity] = variance, half @ (share[:, None] * vectors) / np.sqrt(variance)
    variances, fields = [], []
    for axis, flip in enumerate(FLIP):
        for sign, amount in ((1.0, 1.0), (-1.0, ASYMMETRY)):
            variance, scalar = scalars[sign * flip]
            variances.append(amount**2 * variance)
            fields.append(amount * scalar.T[..., None] * np.eye(3)[axis])
    strongest = np.argsort(-np.concatenate(variances), kind="stable")[:count]
    return np.concatenate(fields)[strongest]
