"""Group norm over a whole clip that is seen a piece at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..unet.hooks import UNetHooks


class Moments:
    """Mean and variance of each norm group, added up piece by piece.

    Pieces merge by the law of total variance: a sum of squares would lose the digits that matter where the mean is
    large. Within a piece the arithmetic is at least fp32, between pieces fp64 where the device has it.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self.sizes: list[int] = []
        self.means: list[Tensor] = []  # each: groups
        self.variances: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        """x: n c ..., every row a piece of its own."""
        grouped = x.to(_at_least_fp32(x)).reshape(len(x), self.groups, -1)
        variance, mean = torch.var_mean(grouped, dim=-1, correction=0)  # n groups
        self.sizes += [grouped.shape[-1]] * len(x)
        self.means += mean.unbind()
        self.variances += variance.unbind()

    def merged(self, which: slice) -> tuple[Tensor, Tensor]:
        """Mean and variance of some pieces taken together, each [groups]."""
        means, variances = (torch.stack(of[which]).to(_widest(of[0])) for of in (self.means, self.variances))
        sizes = torch.tensor(self.sizes[which], dtype=means.dtype, device=means.device)[:, None]
        share = sizes / sizes.sum()  # n 1
        mean = (share * means).sum(0)
        return mean, (share * (variances + (means - mean).square())).sum(0)


class ClipNorm:
    """A group norm whose moments are known, and the SiLU that follows it."""

    def __init__(
        self, norm: torch.nn.GroupNorm, moments: tuple[Tensor, Tensor], like: Tensor, hooks: UNetHooks
    ) -> None:
        """moments: mean and variance, [groups] each. like: an activation that is to be normalised."""
        mean, variance = moments
        weight, bias = (p.to(mean) for p in hooks.norm_parameters(norm, like))  # c
        per_group = len(weight) // len(mean)
        scale = weight * (variance + norm.eps).rsqrt().repeat_interleave(per_group)
        shift = bias - mean.repeat_interleave(per_group) * scale
        self.scale, self.shift = (p.to(_at_least_fp32(like))[:, None, None] for p in (scale, shift))  # c 1 1

    def activated(self, x: Tensor) -> Tensor:
        """x: c t n, in any layout. Returns 1 c t n, laid out as a convolution wants it."""
        y = x.new_empty(x.shape)
        torch.addcmul(self.shift, x, self.scale, out=y)  # in the type of scale and shift; rounded once, on the way out
        return F.silu(y, inplace=True)[None]


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _widest(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64
