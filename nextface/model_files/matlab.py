"""Arrays of MATLAB's .mat files (version 5), none of which is read before its size is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nextface.model_files.limits import WrongFileError, check_size, check_together

LARGEST_FILE = 1 << 30  # bytes; 01_MorphableModel.mat takes 0.24 GB
MOST_VALUES = 150_000_000  # of all arrays together; 01_MorphableModel.mat has 65 million


def read_mat(path: Path, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays by their names, with two axes each, as MATLAB has them.

    Raises
    ------
    WrongFileError: it is no such file, lacks what is wanted, or says that this is absurdly large.
    OSError: it cannot be read.
    """
    from scipy.io import loadmat, whosmat

    check_size(path, LARGEST_FILE)
    try:
        listed = {name: shape for name, shape, _ in whosmat(path)}
        for name in wanted:
            if name not in listed:
                raise WrongFileError(f"has no array {name}; it holds {', '.join(sorted(listed)) or 'nothing'}")
        check_together({name: math.prod(listed[name]) for name in wanted}, MOST_VALUES)
        found = loadmat(path, variable_names=list(wanted))
    except (WrongFileError, OSError):
        raise
    except Exception as error:  # SciPy's reader fails in many ways on forged files
        raise WrongFileError(f"is no MATLAB file of version 5, or a damaged one ({error})") from None
    for name in wanted:
        if getattr(found[name], "dtype", np.dtype(object)).kind not in "biuf":
            raise WrongFileError(f"has {name}, which holds no numbers")
    return {name: found[name] for name in wanted}
