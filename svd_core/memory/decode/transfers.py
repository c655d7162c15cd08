"""Buffers in host memory, and the copies between them and the device beside the computation."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..rehearsal import counted_as_host_memory

_PORTABLE = 1  # pinned for every device, not only the current one


@dataclass(frozen=True)
class Loaded:
    """A tensor whose copy to the device may still be under way."""

    tensor: Tensor
    event: torch.cuda.Event | None = None

    def wait(self) -> Tensor:
        if self.event is not None:
            torch.cuda.current_stream(self.tensor.device).wait_event(self.event)
        return self.tensor


class Transfers:
    """Loads ahead of their use, and at most one store under way.

    Memory belongs to the stream of the computation, which waits for a copy before it goes on with, or gives back, what
    was copied. On devices without streams a copy is done at once; what lives when is the same.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.host = device, HostMemory(device)
        self._loading, self._storing = (torch.cuda.Stream(device) if device.type == "cuda" else None for _ in range(2))
        self._under_way: Loaded | None = None

    def load(self, source: Tensor) -> Loaded:
        """Copy part of a host buffer to the device."""
        target = torch.empty(source.shape, dtype=source.dtype, device=self.device)
        with self._beside(self._loading):
            target.copy_(source, non_blocking=source.is_contiguous())
            return Loaded(target, _record(self._loading))

    def store(self, x: Tensor, target: Tensor) -> None:
        """Copy to part of a host buffer, once what is being copied has arrived."""
        self._settle()
        with self._beside(self._storing):
            target.copy_(x, non_blocking=target.is_contiguous())
            self._under_way = Loaded(x, _record(self._storing))

    def finish(self) -> None:
        """Wait for all copies; host buffers may then be read, and given back."""
        self._settle()
        for stream in (self._loading, self._storing):
            if stream is not None:
                stream.synchronize()

    def _settle(self) -> None:
        if self._under_way is not None:
            self._under_way.wait()
        self._under_way = None

    def _beside(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[Any]:
        if stream is None:
            return nullcontext()
        stream.wait_stream(torch.cuda.current_stream(self.device))
        return torch.cuda.stream(stream)


def _record(stream: torch.cuda.Stream | None) -> torch.cuda.Event | None:
    if stream is None:
        return None
    event = torch.cuda.Event()
    event.record(stream)
    return event


def allocate_in_host_memory(shape: tuple[int, ...], dtype: torch.dtype, pin_for: torch.device) -> Tensor:
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
        self.place = torch.device("meta" if device.type == "meta" else "cpu")
        self._spare: list[Tensor] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        kinds = [(spare.numel(), spare.dtype) for spare in self._spare]
        if (prod(shape), dtype) in kinds:
            return self._spare.pop(kinds.index((prod(shape), dtype))).view(shape)
        self._spare.clear()  # sizes grow towards the picture, so that these would hardly be used again
        return allocate_in_host_memory(shape, dtype, self.device)

    def give(self, buffer: Tensor) -> None:
        """Give a whole buffer back; no copy of it may be under way."""
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
