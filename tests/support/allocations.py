"""Counts the bytes of the tensors alive, and their peak, on any device; on "meta" nothing is even allocated.

What an allocator reports holds its caches, and the CPU has no such report. This counts the storages themselves as
operations make them: a view counts once, what was there before does not count. Buffers that a program means to keep in
host memory are told apart even where all is host memory: they come from one function, which is watched.
"""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from svd_core.memory.decode import host_memory

HOST = "host"


class AllocationCounter(TorchDispatchMode):
    """`with AllocationCounter() as counter: ...`, then `counter.peak["cpu"]` and the like.

    Work space inside an operation is not seen. Run it under `no_grad`, not `inference_mode`, where compound operations
    would hide what they make inside.
    """

    def __init__(self, limit: int | None = None) -> None:
        """limit: bytes that a device, but not the host, has; beyond them its memory has run out."""
        super().__init__()
        self.limit = limit
        self.live: defaultdict[str, int] = defaultdict(int)
        self.peak: defaultdict[str, int] = defaultdict(int)
        self._known: set[int] = set()
        self._place: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._see(tensor, counts=False)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._see(tensor, counts=True)
        return result

    def _see(self, tensor: Tensor, counts: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # of the memory itself; every view has another Python object
        if key in self._known:
            return
        self._known.add(key)
        place = self._place or tensor.device.type
        size = storage.nbytes() if counts else 0
        self.live[place] += size
        weakref.finalize(storage, self._forget, key, place, size)
        if size and place != HOST and self.limit is not None and self.live[place] > self.limit:
            raise torch.OutOfMemoryError(f"{self.live[place]} bytes are alive and {self.limit} are all there are")
        self.peak[place] = max(self.peak[place], self.live[place])

    def _forget(self, key: int, place: str, size: int) -> None:
        self._known.discard(key)
        self.live[place] -= size

    def __enter__(self) -> AllocationCounter:
        self._host_empty = host_memory.empty
        host_memory.empty = self._in_host_memory
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        host_memory.empty = self._host_empty
        super().__exit__(*error)

    def _in_host_memory(self, *args: Any, **kwargs: Any) -> Tensor:
        self._place = HOST
        try:
            return self._host_empty(*args, **kwargs)
        finally:
            self._place = None


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes alive at once during `run()`, on the device that had most."""
    with torch.no_grad(), AllocationCounter() as counter:
        run()
    return max(counter.peak.values())


def _tensors(tree: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            yield leaf
