"""Arrays between PyTorch and Dr.Jit: on a GPU in its own memory through DLPack, else through NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import drjit as dr
import torch
from torch import Tensor


def to_drjit(kind: Any, values: Tensor) -> Any:
    """Values as a Dr.Jit array or tensor type `kind` of float32, which may go on using their memory.

    Flat types take values of any shape, flattened.
    """
    values = values.detach().float().contiguous()
    if not dr.is_tensor_v(kind):
        values = values.flatten()
    if values.is_cuda and dr.backend_v(kind) == dr.JitBackend.CUDA:
        torch.cuda.current_stream(values.device).synchronize()  # Dr.Jit works on a stream of its own
        return kind(values)
    return kind(values.cpu().numpy())


def to_torch(arrays: Sequence[Any], device: torch.device) -> list[Tensor]:
    """Dr.Jit arrays as flat tensors of their own memory on a device."""
    dr.eval(*arrays)
    if device.type != "cuda" or dr.backend_v(arrays[0]) != dr.JitBackend.CUDA:
        # a copy, because the array that Dr.Jit gives may be a view of memory that it reuses
        return [torch.from_numpy(array.numpy().copy()).flatten().to(device) for array in arrays]
    dr.sync_thread()
    copies = [array.torch().clone().flatten() for array in arrays]
    torch.cuda.current_stream(device).synchronize()  # before Dr.Jit reuses the memory
    return copies
