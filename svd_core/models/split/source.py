"""What a residual block reads, made a few frames at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ..unet.resnet import Upsample
from .size import pieces


class Source:
    """An activation of the clip on its way to the next block, perhaps to be upsampled, perhaps to be joined by a skip.

    Neither the upsampled clip nor the joined one ever exists. The source is the only owner of its tensors, so that
    `release` frees them as soon as they have been read.
    """

    def __init__(self, h: Tensor) -> None:
        self.h: Tensor | None = h  # (b t) c h w
        self.skip: Tensor | None = None
        self.upsample: tuple[Upsample, tuple[int, int]] | None = None

    def __len__(self) -> int:
        return len(self._held())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is read."""
        if self.upsample is not None:
            return self.upsample[1]
        height, width = self._held().shape[-2:]
        return height, width

    def frames(self, rows: slice) -> Tensor:
        h = self._held()[rows]
        if self.upsample is not None:
            layer, size = self.upsample
            h = layer(h, size)
        return h if self.skip is None else torch.cat([h, self.skip[rows]], dim=1)

    def take(self, frames_at_once: int) -> Tensor:
        """The whole activation, for a layer that wants it so; the source is empty afterwards."""
        if self.upsample is None and self.skip is None:
            whole = self._held()
        else:
            whole = self._gathered(frames_at_once)
        self.release()
        return whole

    def release(self) -> None:
        self.h = self.skip = self.upsample = None

    def _gathered(self, frames_at_once: int) -> Tensor:
        rows = list(pieces(len(self), frames_at_once))
        first = self.frames(rows[0])
        whole = first.new_empty(len(self), *first.shape[1:])
        whole[rows[0]] = first
        del first
        for some in rows[1:]:
            whole[some] = self.frames(some)
        return whole

    def _held(self) -> Tensor:
        assert self.h is not None, "this source has been read"
        return self.h
