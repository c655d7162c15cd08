"""Copies between host buffers and the device, beside the computation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .host_memory import HostMemory


@dataclass(frozen=True)
class Loaded:
    """A tensor on the device, or soon."""

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
