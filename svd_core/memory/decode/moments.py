"""Group norms whose moments come from more frames and rows than are at hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...models.kernels.group_norm import activated
from ...models.kernels.memory_format import format_of, lies_side_by_side

LARGE = 1024  # pixels of a picture


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of every group in pieces of equal size."""

    size: int  # numbers per group
    mean: Tensor  # t groups
    variance: Tensor  # t groups


def measure(x: Tensor, groups: int) -> Moments:
    """The moments of each frame, t c h w, in fp32 or better; one frame at a time, so that 16 bits widen one frame."""
    pairs = [_mean_variance(frame.to(_at_least_fp32(x.dtype)), groups) for frame in x]
    means, variances = (torch.stack(each) for each in zip(*pairs, strict=True))
    return Moments(x[0].numel() // groups, means, variances)


def _mean_variance(frame: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Of each group of one frame, c h w."""
    if frame.device.type == "cpu":  # where the group norm's own moments are many times as fast
        picture = frame.flatten(1)[None].contiguous()  # 1 c n: three axes lie one way only
        _, channels, pixels = picture.shape
        _, mean, rstd = torch.native_group_norm(picture, None, None, 1, channels, pixels, groups, 0.0)
        return mean[0], rstd[0] ** -2
    variance, mean = torch.var_mean(rearrange(frame, "(g c) h w -> g (c h w)", g=groups), -1, correction=0)
    return mean, variance


def silu_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """SiLU of the norm of x, b c h w, in the layout of x.

    Copies of large pictures cost more than moments taken apart, for which the batch norm has a fast kernel.
    """
    if torch.is_grad_enabled() or not lies_side_by_side(x) or x[0, 0].numel() < LARGE:
        return activated(norm, x)
    mean, variance = (of.double() for of in _moments_side_by_side(x, norm.num_groups))
    scale, shift = _affine(norm, mean, variance)
    scale, shift = (p.to(_at_least_fp32(x.dtype))[..., None, None] for p in (scale, shift))  # b c 1 1
    return F.silu(torch.addcmul(shift, x, scale, out=torch.empty_like(x)), inplace=True)


def _moments_side_by_side(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every group of every picture, b c h w; both are b groups.

    Those of single channels, in which the mean comes first, merge by the law of total variance.
    """
    pairs = [torch.batch_norm_update_stats(picture, None, None, 0.0) for picture in x.split(1)]
    means, variances = (torch.stack(each).unflatten(1, (groups, -1)) for each in zip(*pairs, strict=True))  # b g c
    mean = means.mean(2)
    return mean, (variances + (means - mean[..., None]).square()).mean(2)


def _affine(norm: nn.GroupNorm, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """What multiplies each channel, and what is added to it. mean, variance: ... groups, fp64. Both are ... c."""
    weight, bias = (p.detach().to(mean) for p in (norm.weight, norm.bias))
    per_group = len(weight) // norm.num_groups
    scale = weight * (variance + norm.eps).rsqrt().repeat_interleave(per_group, -1)
    return scale, bias - mean.repeat_interleave(per_group, -1) * scale


@dataclass(frozen=True)
class ScaleShift:
    """A group norm with known moments, as one multiplication and one addition per channel."""

    scale: Tensor  # c 1 1
    shift: Tensor  # c 1 1

    def silu_window(self, x: Tensor, zero_before: bool = False, zero_after: bool = False) -> Tensor:
        """SiLU of the normalised frames, t c h w, between frames of zeros where the clip ends."""
        window, frames = _window_like(x, zero_before, zero_after)
        torch.addcmul(self.shift, x, self.scale, out=frames)
        F.silu(frames, inplace=True)
        return window


def zero_window(x: Tensor, zero_before: bool, zero_after: bool) -> Tensor:
    """The frames, t c h w, between frames of zeros where the clip ends."""
    window, frames = _window_like(x, zero_before, zero_after)
    frames.copy_(x)
    return window


def _window_like(x: Tensor, zero_before: bool, zero_after: bool) -> tuple[Tensor, Tensor]:
    before, after = int(zero_before), int(zero_after)
    shape = (len(x) + before + after, *x.shape[1:])
    window = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x))
    window[:before].zero_()
    window[len(window) - after :].zero_()
    return window, window[before : len(window) - after]


def scale_shift(pieces: Iterable[Moments], norm: nn.GroupNorm, like: Tensor) -> ScaleShift:
    """`norm` with the moments of all pieces together, for tensors like the given one.

    Pieces are merged by the law of total variance, in fp64 and on the CPU, which has it everywhere; sums of squares
    would lose the digits of a group whose mean is large.
    """
    pieces = list(pieces)
    means = torch.cat([p.mean for p in pieces]).cpu().double()  # n groups
    variances = torch.cat([p.variance for p in pieces]).cpu().double()
    sizes = torch.cat([torch.full((len(p.mean), 1), p.size, dtype=torch.float64) for p in pieces])
    share = sizes / sizes.sum()
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    scale, shift = _affine(norm, mean, variance)
    scale, shift = (p.to(like.device, _at_least_fp32(like.dtype))[:, None, None] for p in (scale, shift))
    return ScaleShift(scale, shift)
