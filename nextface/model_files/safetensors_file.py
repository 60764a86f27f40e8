"""Arrays in the safetensors format, which holds nothing that could run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nextface.errors import MissingPartError
from nextface.model_files.limits import WrongFileError, check_size
from nextface.system.python import pip_install

LARGEST_FILE = 1 << 30  # bytes; the format's own reader refuses arrays that reach past the file's end


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every array by its name.

    Raises
    ------
    MissingPartError: the package safetensors is not installed.
    WrongFileError: it is no such file, or too large.
    OSError: it cannot be read.
    """
    check_size(path, LARGEST_FILE)
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise MissingPartError(f"Reading {path} needs safetensors: {pip_install('safetensors')}") from None
    try:
        return load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise WrongFileError(f"is no safetensors file, or a damaged one ({error})") from None
