"""What a detector's errors have in common, from many faces on which they are known."""

from __future__ import annotations

import torch
from torch import Tensor

from nextface.models.face_model import LandmarkErrors


def common_errors(offsets: Tensor, modes: int) -> LandmarkErrors:
    """Mean, principal components and remainder of the offsets of landmarks on many faces.

    This is probabilistic PCA (Tipping and Bishop, 1999) with a remainder for each point: a covariance of low
    rank and a diagonal.

    Parameters
    ----------
    offsets: [N, L, 2] detected points less true ones over the face's size, along the face's axes.
    modes: how many components; fewer than N - 1.
    """
    faces = len(offsets)
    bias = offsets.mean(0)
    centred = (offsets - bias).flatten(1)
    scores, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    found = (directions[:modes] * sizes[:modes, None] / (faces - 1) ** 0.5).T
    rest = centred - (scores[:, :modes] * sizes[:modes]) @ directions[:modes]
    variance = rest.square().sum(0) / (faces - 1 - modes)
    return LandmarkErrors(bias, found.unflatten(0, (-1, 2)), variance.unflatten(0, (-1, 2)).mean(1).sqrt())


def mirrored(offsets: Tensor, partner: Tensor) -> Tensor:
    """The offsets [N, L, 2] that the mirror images of the faces would have, with each point's partner [L]."""
    return offsets[:, partner] * offsets.new_tensor([-1.0, 1.0])
