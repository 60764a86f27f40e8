"""Smoothing a probability over a picture without smoothing across its edges."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

EDGE = 6.0  # difference of colour, in units of CIE Lab, at which a step is e times less likely
PRIOR_WEIGHT = 0.15  # of a pixel's own probability, against 1 for each like neighbour
WEAKEST_STEP = 1e-4  # keeps the system well conditioned


def random_walk(lab: np.ndarray, prior: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Probabilities [h, w] float32 near a prior that change only where the colours do; 0 outside `where`.

    The value of a pixel is the mean of the prior at the pixels where a random walker from it stops, who
    steps between like neighbours and stops in proportion to `PRIOR_WEIGHT` (Grady 2005).

    Parameters
    ----------
    lab: [h, w, 3] colours in CIE Lab.
    prior: [h, w] in [0, 1].
    where: [h, w] bool, the pixels that take part.
    """
    count = int(where.sum())
    number = np.full(where.shape, -1)
    number[where] = np.arange(count)
    graph = sparse.csr_array((count, count))
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        both = where[one] & where[other]
        difference = np.linalg.norm(lab[one] - lab[other], axis=-1)[both]
        weights = np.exp(-((difference / EDGE) ** 2)) + WEAKEST_STEP
        graph = graph + sparse.csr_array((weights, (number[one][both], number[other][both])), (count, count))
    graph = graph + graph.T
    diagonal = sparse.diags_array(graph.sum(0) + PRIOR_WEIGHT)
    smooth, _ = linalg.cg((diagonal - graph).tocsr(), PRIOR_WEIGHT * prior[where], x0=prior[where], rtol=1e-4)
    result = np.zeros(where.shape, dtype=np.float32)
    result[where] = smooth
    return result
