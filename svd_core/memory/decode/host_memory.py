"""Buffers in host memory, for what a device has no room for."""

from __future__ import annotations

import weakref
from contextlib import suppress
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..rehearsal import counted_as_host_memory

_PORTABLE = 1  # pinned for every device, not only the current one


def empty(shape: tuple[int, ...], dtype: torch.dtype, pin_for: torch.device) -> Tensor:
    """An uninitialised tensor in host memory, pinned where that lets copies run beside the computation of a device."""
    with counted_as_host_memory():
        buffer = torch.empty(shape, dtype=dtype, device="meta" if pin_for.type == "meta" else "cpu")
    if pin_for.type == "cuda" and buffer.nbytes:
        _pin(buffer)
    return buffer


class HostMemory:
    """The host buffers of one decode. One that is free is used again for its size: pinning takes longer than a copy."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._spare: list[Tensor] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        kinds = [(spare.numel(), spare.dtype) for spare in self._spare]
        if (prod(shape), dtype) in kinds:
            return self._spare.pop(kinds.index((prod(shape), dtype))).view(shape)
        self._spare.clear()  # sizes grow towards the picture, so that these would hardly be used again
        return empty(shape, dtype, self.device)

    def give(self, buffer: Tensor) -> None:
        """Must be whole, and no copy of it under way."""
        self._spare.append(buffer)


def _pin(buffer: Tensor) -> None:
    """Pin in place: the allocator of pinned memory would round up to a power of two, and never give it back.

    A buffer that cannot be pinned is left as it is; copies then wait for each other.
    """
    runtime: Any = torch.cuda.cudart()
    if int(runtime.cudaHostRegister(buffer.data_ptr(), buffer.nbytes, _PORTABLE)) == 0:
        weakref.finalize(buffer.untyped_storage(), _unpin, buffer.data_ptr())
    else:
        with suppress(RuntimeError):  # the failure would be raised by the next kernel, whichever that is
            torch.zeros(1, device="cuda")


def _unpin(address: int) -> None:
    torch.cuda.synchronize()  # no copy may still be under way, whatever ended the decode
    runtime: Any = torch.cuda.cudart()
    runtime.cudaHostUnregister(address)
