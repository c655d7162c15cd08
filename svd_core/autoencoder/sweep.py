"""Work done on a clip tile by tile, on smaller tiles once memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from weakref import WeakSet

import torch
from torch import Tensor

from .clip_buffer import ClipBuffer, Tile
from .plan import DecodePlan
from .transfers import Loaded, Transfers

logger = logging.getLogger(__name__)

IsOutOfMemory = Callable[[Exception], bool]
Reads = Callable[[Tile], Sequence[Loaded]]
# Gets the loaded tensors as a list and takes them from it, so that nothing outlives its last use.
Work = Callable[[Tile, list[Tensor]], None]


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError)


class Workspace:
    """The buffers of one decode, and the plan that it follows by now."""

    def __init__(
        self, plan: DecodePlan, max_bands: int, device: torch.device, dtype: torch.dtype, is_oom: IsOutOfMemory
    ) -> None:
        self.plan, self.max_bands = plan, max_bands
        self.dtype, self.is_oom = dtype, is_oom
        self.like = torch.empty(0, dtype=dtype, device=device)
        self.transfers = Transfers(device)
        self._buffers: WeakSet[ClipBuffer] = WeakSet()

    def buffer(self, frames: int, channels: int, height: int, width: int) -> ClipBuffer:
        buffer = ClipBuffer((frames, channels, height, width), self.dtype, self.transfers, self.plan.spill)
        self._buffers.add(buffer)
        return buffer

    def sweep(self, whole: Tile, reads: Reads, work: Work, whole_rows: bool = False) -> None:
        """Run `work` on all of a clip. While one tile is worked on, the reads of the next are under way.

        A tile counts once its work has returned. So work may fail anywhere before it writes, and is then repeated on
        smaller tiles; what was done before stays. Along every row, tiles come in the order of the frames.
        """
        pending = self._cut([whole], whole, whole_rows)
        ahead: Sequence[Loaded] | None = None
        while pending:
            tile = pending[0]
            try:
                inputs = [each.wait() for each in (reads(tile) if ahead is None else ahead)]
                ahead = reads(pending[1]) if len(pending) > 1 else None
                work(tile, inputs)
                pending.pop(0)
                continue
            except Exception as error:
                self.transfers.finish()  # while the traceback still holds what is being copied
                if not self.is_oom(error) or self._smaller(tile) is None:
                    raise
            # Outside the handler, so that the exception no longer holds the tensors of the failed attempt.
            inputs, ahead = [], None
            self._step_down(tile)
            pending = self._cut(pending, whole, whole_rows)
        self.transfers.finish()

    def _cut(self, tiles: Iterable[Tile], whole: Tile, whole_rows: bool) -> list[Tile]:
        height = whole.bottom - whole.top
        rows = height if whole_rows else -(-height // self.plan.bands)
        return [
            piece
            for tile in tiles
            for band in tile.rows_apart(rows)
            for piece in band.frames_apart(self.plan.frames_at_once)
        ]

    def _smaller(self, tile: Tile) -> DecodePlan | None:
        tried = replace(self.plan, frames_at_once=min(self.plan.frames_at_once, tile.frames))
        return tried.smaller(self.max_bands)

    def _step_down(self, tile: Tile) -> None:
        smaller = self._smaller(tile)
        assert smaller is not None
        self.plan = smaller
        if self.plan.spill:
            for buffer in self._buffers:
                buffer.spill()
        logger.warning("Out of memory while decoding; going on with %s.", self.plan)
