"""All frames of a clip in one small picture, while it is being sampled."""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor


def contact_sheet(x0: Tensor, latent_format: Any) -> Image.Image:
    """x0: t 4 h w, in diffusion space. A grid of the frames, row by row, one pixel for each latent cell."""
    factors = torch.tensor(latent_format.latent_rgb_factors, device=x0.device, dtype=torch.float32)  # 4 3
    frames = torch.einsum("tchw,cd->thwd", x0.float(), factors)
    if latent_format.latent_rgb_factors_bias is not None:
        frames = frames + torch.tensor(latent_format.latent_rgb_factors_bias, device=x0.device)
    frames = ((frames + 1) / 2).nan_to_num().clamp(0, 1).mul(255).to(torch.uint8).cpu()
    columns = math.ceil(math.sqrt(len(frames)))
    rows = math.ceil(len(frames) / columns)
    blank = frames.new_zeros(rows * columns - len(frames), *frames.shape[1:])
    grid = rearrange(torch.cat([frames, blank]), "(r c) h w d -> (r h) (c w) d", r=rows)
    return Image.fromarray(grid.contiguous().numpy())
