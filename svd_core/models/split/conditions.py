"""What the blocks of one evaluation of the UNet have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..unet.hooks import UNetHooks


@dataclass(frozen=True)
class Conditions:
    emb: Tensor  # (b t) d, its SiLU taken
    context: Tensor  # (b t) m k
    time_context: Tensor  # b m k
    num_frames: int
    image_only: Tensor | None  # (b t)
    hooks: UNetHooks
