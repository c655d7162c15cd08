"""Buffers in host memory, for what a device has no room for."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor


def empty(shape: tuple[int, ...], dtype: torch.dtype, pin_for: torch.device) -> Tensor:
    """An uninitialised tensor in host memory, pinned where that lets copies run beside the computation of a device."""
    buffer = torch.empty(shape, dtype=dtype, device="cpu")
    if pin_for.type == "cuda" and buffer.nbytes:
        _pin(buffer)
    return buffer


def _pin(buffer: Tensor) -> None:
    """Pin in place: the allocator of pinned memory would round up to a power of two, and never give it back.

    A buffer that cannot be pinned is left as it is; copies then wait for each other.
    """
    runtime: Any = torch.cuda.cudart()
    if int(runtime.cudaHostRegister(buffer.data_ptr(), buffer.nbytes, 0)) == 0:
        weakref.finalize(buffer.untyped_storage(), _unpin, buffer.data_ptr())


def _unpin(address: int) -> None:
    torch.cuda.synchronize()  # no copy may still be under way, whatever ended the decode
    runtime: Any = torch.cuda.cudart()
    runtime.cudaHostUnregister(address)
