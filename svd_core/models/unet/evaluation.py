"""One evaluation of the UNet: what its blocks are given and read, and what is kept from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..pieces import Pieces, collect, cut
from .hooks import UNetHooks


class DeepFeatures(Protocol):
    """Output of the deep blocks, kept from one evaluation for later ones (DeepCache, Ma et al. 2023)."""

    def recall(self, noisy: Tensor) -> Tensor | None:
        """noisy: (b t) 4 h w, of this evaluation. Returns (b t) c h w, or None where all blocks are to run."""
        ...

    def keep(self, noisy: Tensor, h: Tensor) -> None:
        """h: (b t) c h w, what the deep blocks made of `noisy`."""
        ...


class Constants:
    """Outputs that are the same in every evaluation of a run: frame positions, picture, micro-conditioning.

    Valid for one set of guidance branches, one size and unchanged weights.
    """

    def __init__(self) -> None:
        self._outputs: dict[nn.Module, Tensor] = {}

    def once(self, layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
        """The output of `layer`, made the first time it is asked for."""
        if torch.compiler.is_compiling():
            return make()
        if layer not in self._outputs:
            self._outputs[layer] = make()
        return self._outputs[layer]


@dataclass(frozen=True)
class Evaluation:
    """Inputs that all blocks share."""

    emb: Tensor  # (b t) d or 1 d, the SiLU of the embedding
    context: Tensor  # (b t) m k
    time_context: Tensor  # b m k
    num_frames: int  # t
    image_only: Tensor | None  # (b t), nonzero for frames that are lone images
    hooks: UNetHooks
    constants: Constants | None

    def once(self, layer: nn.Module, make: Callable[[], Tensor]) -> Tensor:
        return make() if self.constants is None else self.constants.once(layer, make)


class BlockInput:
    """Activations on their way to the next block, perhaps to be upsampled, perhaps to be joined by a skip connection.

    Read a few frames at a time, neither the upsampled clip nor the joined one ever exists. This is the only owner of
    its tensors, so that `release` frees them as soon as they have been read.
    """

    def __init__(self, h: Tensor) -> None:
        self._h: Tensor | None = h  # (b t) c h w
        self._skip: Tensor | None = None
        self._upsample: Callable[[Tensor], Tensor] | None = None
        self.size: tuple[int, int] = (h.shape[2], h.shape[3])

    @property
    def shapes(self) -> tuple[object, ...]:
        """All that the sizes of what is read depend on."""
        skip = None if self._skip is None else self._skip.shape
        return self._held().shape, skip, self._upsample is not None, self.size

    def __len__(self) -> int:
        return len(self._held())

    def upsample(self, layer: Callable[[Tensor, tuple[int, int]], Tensor], size: tuple[int, int]) -> None:
        """Pass frames through `layer` as they are read. size: height and width of its result."""
        self._upsample, self.size = lambda h: layer(h, size), size

    def join(self, skip: Tensor) -> None:
        """Join the channels of `skip`, (b t) c h w, to frames as they are read."""
        self._skip = skip

    def read(self, rows: slice) -> Tensor:
        """Some frames, bt c h w."""
        h = self._held()[rows]
        if self._upsample is not None:
            h = self._upsample(h)
        return h if self._skip is None else torch.cat([h, self._skip[rows]], dim=1)

    def take(self, pieces: Pieces) -> Tensor:
        """All frames, made a piece at a time; nothing is held here afterwards."""
        if self._upsample is None and self._skip is None:
            whole = self._held()
        else:
            whole = collect(cut(len(self), pieces.frames), self.read)
        self.release()
        return whole

    def release(self) -> None:
        self._h = self._skip = self._upsample = None

    def _held(self) -> Tensor:
        assert self._h is not None, "these activations have been read and released"
        return self._h
