"""Group norms where channels lie side by side.

PyTorch's group norm for that layout, on a CPU, takes the variance as the mean of the squares less the square of the
mean, which loses the digits of a group whose mean is large. So the norm gets its pictures channel by channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .memory_format import lies_side_by_side


def activated(norm: nn.Module, x: Tensor) -> Tensor:
    """SiLU of the norm of x, b c h w, in the layout of x."""
    return F.silu(normalised(norm, x), inplace=True)


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm of x, b c h w, in the layout of x."""
    if x.shape[2] * x.shape[3] == 1:  # a lone pixel lies both ways, and PyTorch would go by its strides
        return norm(x.flatten(2)).view_as(x)
    if lies_side_by_side(x):
        return norm(x.contiguous()).contiguous(memory_format=torch.channels_last)
    return norm(x)
