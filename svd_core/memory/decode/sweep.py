"""Work done on a clip tile by tile, on smaller tiles once memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from .buffers import ClipBuffer, Tile
from .plan import DecodePlan
from .transfers import Loaded, Transfers

logger = logging.getLogger(__name__)

IsOutOfMemory = Callable[[Exception], bool]
Reads = Callable[[Tile], Sequence[Loaded]]
# Gets the loaded tensors as a list and takes them from it, so that nothing outlives its last use.
Work = Callable[[Tile, list[Tensor]], None]
Made = TypeVar("Made")


class Workspace:
    """The buffers of one decode, and the plan that it follows; the plan gets smaller if memory runs out."""

    def __init__(
        self,
        plan: DecodePlan,
        max_bands: int,
        like: Tensor,
        memory_format: torch.memory_format,
        is_oom: IsOutOfMemory,
    ) -> None:
        """like: a tensor with the dtype and device of the computation. max_bands: the height of the latent."""
        self.plan, self.max_bands = plan, max_bands
        self.like, self.dtype, self.memory_format = like, like.dtype, memory_format
        self.is_oom = is_oom
        self.transfers = Transfers(like.device)
        self._buffers: WeakSet[ClipBuffer] = WeakSet()

    def buffer(self, frames: int, channels: int, height: int, width: int) -> ClipBuffer:
        shape = frames, channels, height, width
        buffer = ClipBuffer(shape, self.dtype, self.memory_format, self.transfers, self.plan.spill)
        self._buffers.add(buffer)
        return buffer

    def sweep(self, whole: Tile, reads: Reads, work: Work, whole_rows: bool = False) -> None:
        """Run `work` on all of a clip. While one tile is worked on, the reads of the next are under way.

        A tile is done once its work has returned. So work may fail anywhere before it writes, and is then repeated on
        smaller tiles; finished tiles stay. Along every row, tiles come in the order of the frames. Work that needs
        `whole_rows` gets one frame at a time if the plan has bands, and cuts it itself.
        """
        pending = self.cut([whole], whole, whole_rows)
        ahead: Sequence[Loaded] | None = None

        def first() -> None:
            nonlocal ahead
            inputs = [each.wait() for each in (reads(pending[0]) if ahead is None else ahead)]
            ahead = reads(pending[1]) if len(pending) > 1 else None
            work(pending[0], inputs)

        while pending:
            if self.attempt(first, pending[0].frames):
                pending.pop(0)
            else:
                ahead = None
                pending = self.cut(pending, whole, whole_rows)
        self.transfers.finish()

    def sweep_frames(self, clip: ClipBuffer, work: Work) -> None:
        """Run `work` on whole frames of the clip. If the plan has bands, it gets one frame, and reads and cuts it."""

        def reads(tile: Tile) -> list[Loaded]:
            return [] if self.plan.bands > 1 else [clip.read(tile)]

        self.sweep(clip.whole, reads, work, whole_rows=True)

    def make(self, tensors: Callable[[], Made]) -> Made:
        """Run `tensors()` between sweeps and return its result; run it again with a smaller plan if memory runs out."""
        made: list[Made] = []
        while not self.attempt(lambda: made.append(tensors()), self.plan.frames_at_once):
            pass
        return made[0]

    def attempt(self, work: Callable[[], None], frames: int) -> bool:
        """Run `work`, which takes `frames` frames at once. False if memory ran out; the plan is then smaller."""
        try:
            work()
            return True
        except Exception as error:
            self.transfers.finish()  # while the traceback still holds what is being copied
            if not self.is_oom(error) or self._smaller(frames) is None:
                raise
        # Outside the handler, so that the exception no longer holds the tensors of the failed attempt.
        self._step_down(frames)
        return False

    def cut_rows(self, frame: Tile) -> Iterator[Tile]:
        """The bands of whole frames."""
        return frame.split_rows(-(-(frame.bottom - frame.top) // self.plan.bands))

    def cut(self, tiles: Iterable[Tile], whole: Tile, whole_rows: bool) -> list[Tile]:
        frames, rows = self.tile_size(whole, whole_rows)
        return [piece for tile in tiles for band in tile.split_rows(rows) for piece in band.split_frames(frames)]

    def tile_size(self, whole: Tile, whole_rows: bool) -> tuple[int, int]:
        """Frames and rows of a tile under the plan."""
        frames, rows = self.plan.frames_at_once, whole.bottom - whole.top
        if self.plan.bands > 1 and whole_rows:
            return 1, rows  # the work cuts it
        return frames, -(-rows // self.plan.bands)

    def _smaller(self, frames: int) -> DecodePlan | None:
        return replace(self.plan, frames_at_once=min(self.plan.frames_at_once, frames)).smaller(self.max_bands)

    def _step_down(self, frames: int) -> None:
        smaller = self._smaller(frames)
        assert smaller is not None
        self.plan = smaller
        if self.plan.spill:
            for buffer in self._buffers:
                buffer.spill()
        logger.warning("Out of memory while decoding; going on with %s.", self.plan)
