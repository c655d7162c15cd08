"""Frames of a clip, on the device or in host memory, read and written in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .transfers import Loaded, Transfers


def _cuts(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


@dataclass(frozen=True)
class Tile:
    """Some rows of some frames of a clip."""

    start: int
    stop: int
    top: int
    bottom: int

    @property
    def frames(self) -> int:
        return self.stop - self.start

    def split_frames(self, frames: int) -> Iterator[Tile]:
        for start, stop in _cuts(self.start, self.stop, frames):
            yield Tile(start, stop, self.top, self.bottom)

    def split_rows(self, rows: int) -> Iterator[Tile]:
        for top, bottom in _cuts(self.top, self.bottom, rows):
            yield Tile(self.start, self.stop, top, bottom)

    def later(self, frames: int) -> Tile:
        """The same tile of a clip in which `frames` others come first."""
        return Tile(self.start + frames, self.stop + frames, self.top, self.bottom)

    def with_frames(self, before: int, after: int, num_frames: int) -> Tile:
        """The tile and its neighbours, as far as the clip has them."""
        return Tile(max(self.start - before, 0), min(self.stop + after, num_frames), self.top, self.bottom)

    def with_rows(self, rows: int, height: int) -> Tile:
        """The tile and the rows above and below, as far as the picture has them."""
        return Tile(self.start, self.stop, max(self.top - rows, 0), min(self.bottom + rows, height))

    def scaled(self, factor: int) -> Tile:
        """The same rows of a picture that is `factor` times as high."""
        return Tile(self.start, self.stop, self.top * factor, self.bottom * factor)

    def rows_of(self, x: Tensor, other: Tile) -> Tensor:
        """This tile's rows of x, which holds those of `other`."""
        return x[:, :, self.top - other.top : self.bottom - other.top]


class ClipBuffer:
    """t c h w. Allocated when first written, or given."""

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        dtype: torch.dtype,
        memory_format: torch.memory_format,
        transfers: Transfers,
        spilled: bool,
    ) -> None:
        """memory_format: on the device; host memory is contiguous."""
        self.shape, self.dtype, self.memory_format = shape, dtype, memory_format
        self.transfers, self.spilled = transfers, spilled
        self.tensor: Tensor | None = None

    @property
    def num_frames(self) -> int:
        return self.shape[0]

    @property
    def whole(self) -> Tile:
        return Tile(0, self.shape[0], 0, self.shape[2])

    def ends_at(self, tile: Tile) -> tuple[bool, bool]:
        """True where the clip starts, and ends, with the tile."""
        return tile.start == 0, tile.stop == self.num_frames

    def adopt(self, x: Tensor) -> None:
        """Use `x` as the buffer; copies only across devices or memory formats."""
        if self.spilled:
            self.tensor = x.to(self.transfers.host.place)
        else:
            self.tensor = x.to(self.transfers.device, memory_format=self.memory_format)

    def read(self, tile: Tile) -> Loaded:
        """On the device: a view of the buffer, or a copy where the buffer is in host memory."""
        assert self.tensor is not None, "a buffer is written before it is read"
        part = _part(self.tensor, tile)
        return self.transfers.load(part) if self.spilled else Loaded(part)

    def write(self, tile: Tile, x: Tensor) -> None:
        if x.shape == self.shape and not self.spilled:
            self.tensor = x
            return
        if self.tensor is None:
            self.tensor = self._empty()
        target = _part(self.tensor, tile)
        if self.spilled:
            self.transfers.store(x, target)
        elif target.data_ptr() != x.data_ptr():
            target.copy_(x)

    def copy_frame(self, frame: int, source: ClipBuffer) -> None:
        """Copy the only frame of another buffer; needs no memory, so it cannot fail halfway."""
        assert self.tensor is not None and source.tensor is not None
        self.tensor[frame].copy_(source.tensor[0])

    def spill(self) -> None:
        """Move to host memory."""
        if self.spilled:
            return
        self.spilled = True
        if self.tensor is not None:
            self.tensor = self._empty().copy_(self.tensor)

    def release(self) -> None:
        """Give up the frames, between sweeps."""
        if self.spilled and self.tensor is not None:
            self.transfers.host.give(self.tensor)
        self.tensor = None

    def _empty(self) -> Tensor:
        if self.spilled:
            return self.transfers.host.take(self.shape, self.dtype)
        where = {"device": self.transfers.device, "memory_format": self.memory_format}
        return torch.empty(self.shape, dtype=self.dtype, **where)


def _part(x: Tensor, tile: Tile) -> Tensor:
    return x[tile.start : tile.stop, :, tile.top : tile.bottom]
