"""Large tensors of many photos: as many as memory is meant for, the others in files.

What is worked on is one photo at a time. A file's pages are memory only while its tensor is in use, so memory
does not grow with the photos that went to files.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

IN_MEMORY = 256_000_000  # bytes on the CPU
SHARE_OF_GPU = 0.25  # of a GPU's memory
LASTING = Path("/var/tmp")  # on a disk by convention, where /tmp may be memory


class TensorStore:
    """Keeps tensors for as long as what `keep` returns lives.

    They are held in memory until these are `limit` bytes or more. Further ones go to files without names, which
    vanish with the process however it ends, in the folder TMPDIR or /var/tmp; where no file can be written,
    they are held in memory, too.

    Parameters
    ----------
    limit: bytes; None for `IN_MEMORY`, or on a GPU for a share of its memory.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._held = 0

    def keep(self, values: Tensor) -> Callable[[], Tensor]:
        """What gives the values back whenever it is called, equal to the last bit and on their device."""
        values = values.detach()
        if not values.numel() or self._held < self._most(values.device):
            return self._hold(values)
        try:
            return _Filed(values)
        except OSError:  # no folder, no space, or too many open files
            return self._hold(values)

    def _hold(self, values: Tensor) -> Callable[[], Tensor]:
        size = values.numel() * values.element_size()
        self._held += size
        held = _Held(values)
        weakref.finalize(held, self._release, size)
        return held

    def _release(self, size: int) -> None:
        self._held -= size

    def _most(self, device: torch.device) -> float:
        if self._limit is not None:
            return self._limit
        if device.type != "cuda":
            return IN_MEMORY
        return SHARE_OF_GPU * torch.cuda.get_device_properties(device).total_memory


class _Held:
    """A tensor in memory."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __call__(self) -> Tensor:
        return self._values


class _Filed:
    """A tensor in a file."""

    def __init__(self, values: Tensor) -> None:
        array = values.contiguous().cpu().numpy()
        self._shape, self._type, self._device = array.shape, array.dtype, values.device
        folder = LASTING if not os.environ.get("TMPDIR") and LASTING.is_dir() else None
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 -- closed by the finalizer
        weakref.finalize(self, self._file.close)
        array.tofile(self._file)

    def __call__(self) -> Tensor:
        # private pages, because torch warns of memory that it may not write to
        array = np.memmap(self._file, self._type, "c", shape=self._shape)
        return torch.from_numpy(array).to(self._device)
