"""Memory that runs out at one allocation, wherever that is."""

from __future__ import annotations

import torch

from svd_core.memory.rehearsal import AllocationCounter


class ShortMemory(AllocationCounter):
    """`with ShortMemory(51): ...` raises torch's error in place of the 51st new memory on the CPU; 0 only counts."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__()
        self.fails_at, self.made = fails_at, 0

    def _see_storage(self, storage: torch.UntypedStorage, device: str) -> None:
        if device == "cpu" and storage._cdata not in self._known and storage.nbytes():
            self.made += 1
            if self.made == self.fails_at:
                raise torch.cuda.OutOfMemoryError(f"allocation {self.made} of a test")
        super()._see_storage(storage, device)
