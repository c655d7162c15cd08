"""Group norms where channels lie side by side.

PyTorch's group norm for that layout takes the variance as the mean of the squares less the square of the mean, which
loses the digits of a group whose mean is large. So small pictures are normalised channel by channel, as elsewhere, and
large ones, whose copies cost more, about their mean: a constant taken off a group leaves its norm as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import is_channels_last

LARGE = 1024  # pixels of a picture


def activated(norm: nn.Module, x: Tensor) -> Tensor:
    """SiLU of the norm of x, b c h w, in the layout of x."""
    return F.silu(normalised(norm, x), inplace=True)


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm of x, b c h w, in the layout of x."""
    pixels = x.shape[2] * x.shape[3]
    if pixels == 1:  # lies both ways, and strides alone would choose
        return norm(x.flatten(2)).view_as(x)
    if not is_channels_last(x):
        return norm(x)
    if pixels < LARGE:
        return norm(x.contiguous()).contiguous(memory_format=torch.channels_last)
    means = x.mean((2, 3)).unflatten(1, (norm.num_groups, -1)).mean(2)  # b groups
    return norm(x - means.repeat_interleave(x.shape[1] // means.shape[1], 1)[:, :, None, None])


def moments_side_by_side(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every group of every picture, b c h w on a CPU; both are b groups.

    Those of single channels come from the batch norm, which has a fast kernel for this layout, and one that takes the
    mean first. They merge by the law of total variance.
    """
    pairs = [torch.batch_norm_update_stats(picture, None, None, 0.0) for picture in x.split(1)]
    means, variances = (torch.stack(each).unflatten(1, (groups, -1)) for each in zip(*pairs, strict=True))  # b g c
    mean = means.mean(2)
    return mean, (variances + (means - mean[..., None]).square()).mean(2)
