"""All frames of a clip in one small picture, while it is being sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .sheet import grid


def contact_sheet(x0: Tensor, rgb_factors: Sequence[Sequence[float]], rgb_bias: Sequence[float] | None = None) -> Any:
    """A PIL image: a grid of the frames, row by row, one pixel for each latent cell.

    x0: t c h w, in diffusion space. rgb_factors: c 3 and rgb_bias: 3, a linear guess of the colours in [-1, 1].
    """
    from PIL import Image

    factors = torch.tensor(rgb_factors, device=x0.device, dtype=torch.float32)  # c 3
    frames = torch.einsum("tchw,cd->thwd", x0.float(), factors)
    if rgb_bias is not None:
        frames = frames + torch.tensor(rgb_bias, device=x0.device, dtype=torch.float32)
    levels = (frames / 2 + 0.5).nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
    sheet = grid(levels, math.ceil(math.sqrt(len(levels))))
    return Image.fromarray(sheet.contiguous().numpy())
