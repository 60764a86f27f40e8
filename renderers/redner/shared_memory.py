"""Memory that another process can map: anonymous, so that nothing is left of it when both are done."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence

import numpy as np

from nextface.errors import RendererError

ALIGNMENT = 64  # bytes, a cache line


class SharedMemory:
    """A block of arrays behind a file descriptor, without a name that anybody could open or that could remain.

    Parameters
    ----------
    shapes: shape and type of each array, such as ([4, 3], "float32").

    Raises
    ------
    RendererError: when there is not enough memory. All of it is claimed at once, so that writing to it later
        cannot kill the process.
    """

    def __init__(self, shapes: Mapping[str, tuple[Sequence[int], str]]) -> None:
        self.layout: dict[str, tuple[int, list[int], str]] = {}
        self.size = 0
        for name, (shape, kind) in shapes.items():
            self.layout[name] = (self.size, list(shape), kind)
            length = int(np.prod(shape)) * np.dtype(kind).itemsize
            self.size = -(-(self.size + length) // ALIGNMENT) * ALIGNMENT
        self.descriptor = os.memfd_create("nextface")
        try:
            os.posix_fallocate(self.descriptor, 0, self.size)
            memory = mmap.mmap(self.descriptor, self.size)
        except OSError as error:
            os.close(self.descriptor)
            raise RendererError(
                f"There are no {self.size / 1e6:.0f} MB of shared memory for redner ({error.strerror}). "
                "Free some memory, or lower maxResolution or textureResolution."
            ) from error
        self.arrays = {
            name: np.frombuffer(memory, kind, int(np.prod(shape)), offset).reshape(shape)
            for name, (offset, shape, kind) in self.layout.items()
        }

    def __del__(self) -> None:
        if hasattr(self, "arrays"):  # the arrays themselves hold the mapping
            os.close(self.descriptor)
