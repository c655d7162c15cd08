"""Sizes of the pieces of a clip that the layers of the UNet take at once, and the loops over its pieces.

All at once is the case of a single piece: it passes through the loops untouched, so that gradients and compilers see
plain layers. Several pieces are written into one tensor, which bounds the memory and never changes the result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..errors import SVDError
from .alike import skips_alike
from .kernels.memory_format import format_of

UNBOUNDED = sys.maxsize


@dataclass(frozen=True)
class Pieces:
    """Sizes of the pieces for each kind of layer, at the finest level of the UNet.

    A coarser level takes larger pieces, of the same memory: small ones would only leave the hardware idle.
    """

    frames: int = UNBOUNDED  # of layers within a frame: convolutions, norms, spatial attention
    pixels: int = UNBOUNDED  # of layers over frames; each pixel comes with all its frames
    tokens: int = UNBOUNDED  # of feed-forwards, whose inner width is eight times that of any other layer

    def __post_init__(self) -> None:
        for part in fields(self):
            if getattr(self, part.name) < 1:
                raise SVDError(f"Pieces need at least 1 of {part.name} at once, and got {getattr(self, part.name)}.")

    @property
    def whole(self) -> bool:
        """True if everything is taken at once."""
        return min(self.frames, self.pixels, self.tokens) >= UNBOUNDED

    def at(self, width: float, area: float) -> Pieces:
        """The pieces at another level. width: its channels over those of the finest level; area: its pixels, too."""
        if self.whole:
            return self
        frames, pixels, tokens = self.frames / (width * area), self.pixels / width, self.tokens / width
        return Pieces(*(max(1, int(count)) for count in (frames, pixels, tokens)))

    def of_clips(self, total: int) -> list[slice]:
        """All clips at once if each is whole; otherwise one by one, as one needs buffers of its size."""
        return cut(total, UNBOUNDED if self.pixels >= UNBOUNDED else 1)


ALL = Pieces()


def cut(total: int, at_once: int) -> list[slice]:
    """0 .. total in pieces of `at_once`."""
    if at_once >= total:
        return [slice(None)]
    starts = range(0, total, at_once)
    needed = [*starts[:2], *starts[2:][-1:]] if skips_alike() else starts
    return [slice(start, min(start + at_once, total)) for start in needed]


def collect(pieces: Sequence[slice], make: Callable[[slice], Tensor], dim: int = 0) -> Tensor:
    """make(piece) of every piece, side by side in `dim`."""
    first = make(pieces[0])
    if len(pieces) == 1:
        return first
    shape = list(first.shape)
    shape[dim] = pieces[-1].stop
    memory_format = format_of(first) if first.ndim == 4 else torch.contiguous_format
    whole = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=memory_format)
    _at(whole, pieces[0], dim).copy_(first)
    del first  # or it stays while the others are made
    for piece in pieces[1:]:
        _at(whole, piece, dim).copy_(make(piece))
    return whole


def update(x: Tensor, pieces: Sequence[slice], change: Callable[[Tensor, slice], Tensor], dim: int = 0) -> Tensor:
    """x with change(x[piece], piece) in place of every piece. Several pieces overwrite x."""
    if len(pieces) == 1:
        return change(x, pieces[0])
    for piece in pieces:
        before = _at(x, piece, dim)
        after = change(before, piece)
        if after.data_ptr() != before.data_ptr():  # or it has been changed in place
            before.copy_(after)
        del before, after
    return x


def share(x: Tensor, rows: slice) -> Tensor:
    """Some rows of x, or its only row where that serves all."""
    return x if len(x) == 1 else x[rows]


def _at(x: Tensor, piece: slice, dim: int) -> Tensor:
    return x.narrow(dim, piece.start, piece.stop - piece.start)
