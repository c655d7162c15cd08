"""Sinusoidal embedding, in the one convention the model uses everywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_embedding(x: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Embed numbers as [cos(x f), sin(x f)], cosines first, f_i = max_period^(-i / (dim/2)).

    x: [n], any number type. Returns [n, dim] in fp32: in 16 bits, motion ids above 256 and the noise level would
    already be rounded before they reach the network.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) / half * torch.arange(half, dtype=torch.float32, device=x.device))
    angles = x.float()[:, None] * frequencies[None]  # n half
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # n dim
