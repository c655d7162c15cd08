"""Previews while sampling: all frames of a clip in one small picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.tiny_decoder import TinyVideoDecoder
from .contact_sheet import arrange_grid, count_columns

OVERSAMPLING = 2.0  # decoded pixels per shown pixel, in each direction


def draw_preview(frames: Tensor) -> Any:
    """A PIL image: a grid of the frames, row by row. frames: t h w 3 in [0, 1]; NaN is black."""
    from PIL import Image

    levels = frames.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    return Image.fromarray(arrange_grid(levels, count_columns(len(levels))).contiguous().numpy())


def guess_colours(
    x0: Tensor, rgb_factors: Sequence[Sequence[float]], rgb_bias: Sequence[float] | None = None
) -> Tensor:
    """Guess colours from latents linearly, one pixel per latent cell.

    x0: t c h w, in diffusion space. rgb_factors: c 3 and rgb_bias: 3, for colours in [-1, 1]. Returns t h w 3,
    which may leave [0, 1].
    """
    factors = torch.tensor(rgb_factors, device=x0.device, dtype=torch.float32)  # c 3
    frames = torch.einsum("tchw,cd->thwd", x0.float(), factors)
    if rgb_bias is not None:
        frames = frames + torch.tensor(rgb_bias, device=x0.device, dtype=torch.float32)
    return frames / 2 + 0.5


def decode_preview(decoder: TinyVideoDecoder, x0: Tensor, max_size: int) -> Tensor:
    """Decode latents with TAESDV, no larger than a grid of `max_size` pixels shows: t h w 3 in [0, 1].

    x0: t 4 h w, in diffusion space. Latents are first averaged to what can be seen, which bounds the time at any size.
    """
    weight = next(decoder.parameters())
    pixels = 8 * count_columns(len(x0)) * max(x0.shape[-2:])
    cells = max(1, math.floor(pixels / (OVERSAMPLING * max_size)))
    pooled = F.avg_pool2d(x0.float(), cells, ceil_mode=True) if cells > 1 else x0
    return decoder(pooled.to(weight.device, weight.dtype)).movedim(1, -1).float().clamp(0.0, 1.0)
