"""Rehearse a run on the "meta" device: the real modules, no data, and a count of bytes and operations.

What an allocator reports includes its caches, and a CPU reports nothing. So the counter follows the storages themselves
as operations make them, on any device: a view counts once, and what was there before does not count.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.flop_counter import flop_registry

from .meta_shapes import run_on_meta

HOST = "host"


class AllocationCounter(TorchDispatchMode):
    """`with AllocationCounter() as counter: ...`, then `counter.peak["cpu"]` and the like, in bytes.

    Work space inside an operation is not seen. Use it under `no_grad`: in `inference_mode` compound operations hide
    the tensors they make.
    """

    def __init__(self, limit: int | None = None) -> None:
        """limit: bytes that a device, but not the host, has; beyond them memory has run out."""
        super().__init__()
        self.limit = limit
        self.live: defaultdict[str, int] = defaultdict(int)
        self.peak: defaultdict[str, int] = defaultdict(int)
        self.place: str | None = None  # of what is made now; None: the device of the tensor
        self._known: dict[int, _Storage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = run_on_meta(func, args, kwargs or {})
        if _allocates(func):
            self._see((result,))
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler for the first count, which takes a second

    def _see(self, values: Any) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self._see_storage(value.untyped_storage(), value.device.type)
            elif isinstance(value, (tuple, list)):
                self._see(value)

    def _see_storage(self, storage: torch.UntypedStorage, device: str) -> None:
        key = storage._cdata  # the address of the memory's record; several Python objects may share it
        if key in self._known:
            return
        place, size = self.place or device, storage.nbytes()
        self._known[key] = _Storage(storage, self._forget, key, place, size)
        self.live[place] += size
        if size and place != HOST and self.limit is not None and self.live[place] > self.limit:
            raise torch.cuda.OutOfMemoryError(f"{self.live[place]} bytes are alive and {self.limit} are all there are")
        self.peak[place] = max(self.peak[place], self.live[place])

    def _forget(self, gone: _Storage) -> None:
        del self._known[gone.key]
        self.live[gone.place] -= gone.size


@cache
def _allocates(func: Any) -> bool:
    """True if the results have memory of their own; views and what is written in place say so in their schema."""
    aliases = any(result.alias_info is not None for result in func._schema.returns)
    return not aliases and func is not torch.ops.aten._unsafe_view.default


class FlopCounter(TorchDispatchMode):
    """Adds up torch's own formulas; unlike torch's own counter, it leaves the compiler alone."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = run_on_meta(func, args, kwargs)
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **kwargs, out_val=result)
        return result

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Storage(weakref.ref):
    """A weak reference to a storage, with its place and size."""

    def __new__(cls, storage: Any, callback: Any, *_: Any) -> _Storage:
        return super().__new__(cls, storage, callback)

    def __init__(self, storage: Any, callback: Any, key: int, place: str, size: int) -> None:
        self.key, self.place, self.size = key, place, size


@contextmanager
def counted_as_host_memory() -> Iterator[None]:
    """Tell the counters at work that tensors made inside lie in host memory, also where all memory is the host's."""
    counters = [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, AllocationCounter)]
    for counter in counters:
        counter.place = HOST
    try:
        yield
    finally:
        for counter in counters:
            counter.place = None


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes alive at once during `run()`, on the device that had most."""
    with torch.no_grad(), AllocationCounter() as counter, FusedAttention():
        run()
    return max(counter.peak.values(), default=0)


def count_flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of `run()` in matrix products, convolutions and attention; a multiply-add is two."""
    with torch.no_grad(), FlopCounter() as counter, FusedAttention():
        run()
    return counter.total


class FusedAttention(TorchFunctionMode):
    """On "meta", attention takes the memory of a fused kernel; torch would make the matrix of scores there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention and args[0].is_meta:
            return torch.ops.aten._scaled_dot_product_efficient_attention.default(*args[:3], None, True)[0]
        return func(*args, **(kwargs or {}))
