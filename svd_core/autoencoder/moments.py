"""Group norms whose moments come from more frames and rows than are at hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


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
        channels, height, width = frame.shape
        contiguous = frame[None].contiguous()
        _, mean, rstd = torch.native_group_norm(contiguous, None, None, 1, channels, height * width, groups, 0.0)
        return mean[0], rstd[0] ** -2
    variance, mean = torch.var_mean(rearrange(frame, "(g c) h w -> g (c h w)", g=groups), -1, correction=0)
    return mean, variance


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
    window = x.new_empty(len(x) + before + after, *x.shape[1:])
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
    weight, bias = (p.detach().to("cpu", torch.float64) for p in (norm.weight, norm.bias))
    scale = weight * (variance + norm.eps).rsqrt().repeat_interleave(len(weight) // len(mean))
    shift = bias - mean.repeat_interleave(len(weight) // len(mean)) * scale
    scale, shift = (p.to(like.device, _at_least_fp32(like.dtype))[:, None, None] for p in (scale, shift))
    return ScaleShift(scale, shift)
