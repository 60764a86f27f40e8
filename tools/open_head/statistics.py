"""Principal components of a population of heads, without rigid motion, each symmetric or antisymmetric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

FLIP = np.array([-1.0, 1.0, 1.0])


def reflect(shapes: Array, mirror: Indices) -> Array:
    """Mirror images of shapes or offsets [..., C, 3] in the plane x = 0."""
    return shapes[..., mirror, :] * FLIP


def align(heads: Array, reference: Array, weights: Array) -> Array:
    """Heads [N, C, 3] moved rigidly onto a reference [C, 3], by weights [C] (Kabsch)."""
    share = weights / weights.sum()
    centre = share @ reference
    aligned = np.empty_like(heads)
    for head, result in zip(heads, aligned, strict=True):
        middle = share @ head
        covariance = (head - middle).T @ (share[:, None] * (reference - centre))
        left, _, right = np.linalg.svd(covariance)
        left[:, -1] *= np.linalg.det(left @ right)
        result[:] = (head - middle) @ (left @ right) + centre
    return aligned


def mean_head(heads: Array, mirror: Indices, rigid: Array) -> Array:
    """The exactly symmetric mean [C, 3] of heads [N, C, 3] that are aligned by weights `rigid` [C]."""
    reference = heads[0]
    for _ in range(3):
        reference = (reference + reflect(reference, mirror)) / 2
        reference = align(heads, reference, rigid).mean(0)
    return (reference + reflect(reference, mirror)) / 2


def principal_components(offsets: Array, mirror: Indices, weights: Array, count: int) -> Array:
    """Principal components [K, C, 3] of offsets [N, C, 3] from the mean, and of their mirror images.

    They are in mm a standard deviation, by falling variance.
    `weights` [C] says how much a control point counts. With every mirror image in the sample, the covariance
    is that of the symmetric halves plus that of the antisymmetric ones, which share no direction: each is taken
    by itself.
    """
    flipped = reflect(offsets, mirror)
    variances, bases = [], []
    for half in ((offsets + flipped) / 2, (offsets - flipped) / 2):
        flat = half.reshape(len(half), -1)
        weighted = flat * np.repeat(np.sqrt(weights), 3)
        variance, vectors = np.linalg.eigh(weighted @ weighted.T / len(half))
        variance, vectors = variance[::-1][:count], vectors[:, ::-1][:, :count]
        basis = (vectors.T @ flat).reshape(-1, *offsets.shape[1:]) / np.sqrt(len(half))
        sign = np.sign(np.einsum("kcd,kcd->k", basis, abs(basis)))
        variances.append(variance)
        bases.append(basis * np.where(sign == 0, 1, sign)[:, None, None])
    order = np.argsort(-np.concatenate(variances), kind="stable")[:count]
    return np.concatenate(bases)[order]


def beyond(offsets: Array, basis: Array, weights: Array, noise: float) -> Array:
    """What is left of offsets [N, C, 3] by the likeliest coefficients of a basis [K, C, 3] of unit variance.

    `noise` (mm) is the standard deviation of what is left at a control point of full weight, were nothing else
    there. The offsets' own part in the basis goes without making the basis explain what it finds unlikely.
    """
    root = np.repeat(np.sqrt(weights), 3)
    flat, modes = offsets.reshape(len(offsets), -1) * root, basis.reshape(len(basis), -1) * root
    system = modes @ modes.T + noise**2 * np.eye(len(modes))
    return offsets - np.tensordot(flat @ np.linalg.solve(system, modes).T, basis, 1)


def symmetric_expressions(offsets: dict[str, Array], mirror: Indices) -> dict[str, Array]:
    """Expressions made exact mirror images of each other: left of right, and middle ones of themselves."""
    result = {}
    for name, shape in offsets.items():
        if name.endswith("Left"):
            partner = name.removesuffix("Left") + "Right"
        elif name.endswith("Right"):
            partner = name.removesuffix("Right") + "Left"
        else:
            partner = name
        result[name] = (shape + reflect(offsets[partner], mirror)) / 2
    return result
