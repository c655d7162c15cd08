"""Group norms whose moments come from more frames and rows than are at hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .. import normalise
from ..layout import format_of, is_channels_last
from ..normalise import LARGE, moments_side_by_side

# Numbers whose moments are taken in one call, if that is more than a frame: small ones would be all overhead.
MEASURED_AT_ONCE = 1 << 16


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
    at_once = max(MEASURED_AT_ONCE // x[0].numel(), 1)
    pairs = [_mean_variance(some.to(_at_least_fp32(x.dtype)), groups) for some in x.split(at_once)]
    means, variances = (torch.cat(each) for each in zip(*pairs, strict=True))
    return Moments(x[0].numel() // groups, means, variances)


def _mean_variance(frames: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Of each group of each frame, t c h w; both are t groups."""
    if is_channels_last(frames) and frames[0, 0].numel() >= LARGE:
        return moments_side_by_side(frames, groups)
    if frames.device.type == "cpu":  # where the group norm's own moments are many times as fast
        (count, channels), area = frames.shape[:2], frames[0, 0].numel()
        _, mean, rstd = torch.native_group_norm(frames.contiguous(), None, None, count, channels, area, groups, 0.0)
        return mean, rstd**-2
    variance, mean = torch.var_mean(rearrange(frames, "t (g c) h w -> t g (c h w)", g=groups), -1, correction=0)
    return mean, variance


def activated(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """SiLU of the norm of x, b c h w, in the layout of x."""
    if torch.is_grad_enabled() or not is_channels_last(x) or x[0, 0].numel() < LARGE:
        return normalise.activated(norm, x)
    mean, variance = (of.double() for of in moments_side_by_side(x, norm.num_groups))  # b groups
    scale, shift = _affine(norm, mean, variance)
    scale, shift = (p.to(_at_least_fp32(x.dtype))[..., None, None] for p in (scale, shift))  # b c 1 1
    return F.silu(torch.addcmul(shift, x, scale, out=torch.empty_like(x)), inplace=True)


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
