"""Group norm, at once or from moments that are gathered piece by piece, and the SiLU that follows it.

Moments of pieces merge by the law of total variance: sums of squares would lose the digits that matter where the mean
of a group is large. For the same reason PyTorch's own norm of channels side by side on a CPU is not used: it takes the
variance as the mean of the squares less the square of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..alike import some_rows
from .memory_format import format_of, lies_side_by_side

# Weight and bias of a norm for activations like the given tensor. A host may keep them elsewhere, or patch them.
ReadParameters = Callable[[nn.GroupNorm, Tensor], tuple[Tensor, Tensor]]

# Pixels of a picture from which its moments, taken apart, cost less than copying it to the other memory format.
LARGE = 1024


def read_parameters(norm: nn.GroupNorm, like: Tensor) -> tuple[Tensor, Tensor]:
    """The norm's own weight and bias on the device of `like`."""
    return norm.weight.detach().to(like.device), norm.bias.detach().to(like.device)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """The norm of x, b c h w, in the memory format of x."""
    if x.shape[2] * x.shape[3] == 1:  # a lone pixel lies both ways, and PyTorch would go by its strides
        return norm(x.flatten(2)).view_as(x)
    if lies_side_by_side(x):
        return norm(x.contiguous()).contiguous(memory_format=torch.channels_last)
    return norm(x)


def normalise_silu(norm: nn.Module, x: Tensor, read: ReadParameters = read_parameters) -> Tensor:
    """SiLU of the group norm of x, b c h w, in the memory format of x."""
    if torch.is_grad_enabled() or not _has_fast_moments(x):
        return F.silu(normalise(norm, x), inplace=True)
    assert isinstance(norm, nn.GroupNorm)
    mean, variance = _measure_side_by_side(x, norm.num_groups)
    return _scale_shift(norm, mean, variance, x, read).silu(x)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of every norm group in one piece of a clip."""

    size: int  # numbers per group
    mean: Tensor  # groups
    variance: Tensor  # groups


def measure(x: Tensor, groups: int) -> list[Moments]:
    """The moments of every row of x, n c ..., in fp32 or better."""
    size, x = x[0].numel() // groups, some_rows(x)
    if _has_fast_moments(x):
        pairs = [_measure_side_by_side(x, groups)]
    else:
        # Row by row where each needs a copy of its own, so that no more than one exists.
        rows = x.split(1) if _takes_cpu_kernel(x) or x.dtype.itemsize < 4 else [x]
        pairs = [_measure_rows(some.to(_at_least_fp32(x)), groups) for some in rows]
    return [
        Moments(size, mean, variance)
        for means, variances in pairs
        for mean, variance in zip(means.unbind(), variances.unbind(), strict=True)
    ]


def merge(pieces: Sequence[Moments]) -> Moments:
    """The moments of all pieces together, in fp64 where the device has it."""
    dtype = widest_dtype(pieces[0].mean.device)
    means, variances = (torch.stack(of).to(dtype) for of in zip(*((p.mean, p.variance) for p in pieces), strict=True))
    sizes = torch.tensor([p.size for p in pieces], dtype=dtype, device=means.device)[:, None]  # n 1
    share = sizes / sizes.sum()
    mean = (share * means).sum(0)
    # Law of total variance: the mean of the variances and the variance of the means.
    return Moments(sum(p.size for p in pieces), mean, (share * (variances + (means - mean).square())).sum(0))


@dataclass(frozen=True)
class ScaleShift:
    """A group norm with known moments: one multiplication and one addition per channel."""

    scale: Tensor  # c 1 1, or b c 1 1
    shift: Tensor

    def silu(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """SiLU of the normalised x, ... c h w or c t n; written to `out`, or to a tensor laid out like x."""
        out = torch.empty_like(x) if out is None else out
        torch.addcmul(self.shift, x, self.scale, out=out)  # in the dtype of scale and shift; rounded once, into `out`
        return F.silu(out, inplace=True)


def scale_shift(
    norm: nn.GroupNorm, pieces: Sequence[Moments], like: Tensor, read: ReadParameters = read_parameters
) -> ScaleShift:
    """`norm` with the moments of all pieces together, for activations like the given one."""
    moments = merge(pieces)
    return _scale_shift(norm, moments.mean, moments.variance, like, read)


class ClipNorm:
    """Group norm and SiLU of whole clips.

    A clip that comes in pieces is shown to `watch`, all of it, before the norm is applied to any piece. A clip that
    comes as a whole passes through the module itself, where gradients and compilers can follow it.
    """

    def __init__(self, norm: nn.GroupNorm, in_pieces: bool, read: ReadParameters = read_parameters) -> None:
        self._norm, self._in_pieces, self._read = norm, in_pieces, read
        self._moments: list[Moments] = []
        self._known: ScaleShift | None = None

    def watch(self, x: Tensor) -> Tensor:
        """x: n c ..., the next n pieces. Returns x."""
        if self._in_pieces:
            self._moments += measure(x, self._norm.num_groups)
        return x

    def take(self, clips: slice, num_frames: int) -> ClipNorm:
        """The norm of some of the clips, each of which was shown as `num_frames` pieces."""
        if not self._in_pieces:
            return self
        first, last, _ = clips.indices(len(self._moments) // num_frames)
        own = ClipNorm(self._norm, True, self._read)
        # A rehearsal skips pieces; any moments serve it.
        own._moments = self._moments[first * num_frames : last * num_frames] or self._moments[-1:]
        return own

    def __call__(self, x: Tensor) -> Tensor:
        """x: b c t n. Returns the same shape, in a memory format that convolutions take."""
        if not self._in_pieces:
            return normalise_silu(self._norm, x, self._read)
        self._known = self._known or scale_shift(self._norm, self._moments, x, self._read)
        return self._known.silu(x, torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=format_of(x)))


def widest_dtype(device: torch.device) -> torch.dtype:
    """fp64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _scale_shift(norm: nn.GroupNorm, mean: Tensor, variance: Tensor, like: Tensor, read: ReadParameters) -> ScaleShift:
    """mean, variance: ... groups."""
    mean, variance = (moment.to(widest_dtype(like.device)) for moment in (mean, variance))
    weight, bias = (parameter.to(mean) for parameter in read(norm, like))  # c
    per_group = len(weight) // norm.num_groups
    scale = weight * (variance + norm.eps).rsqrt().repeat_interleave(per_group, -1)
    shift = bias - mean.repeat_interleave(per_group, -1) * scale
    return ScaleShift(*(p.to(_at_least_fp32(like))[..., None, None] for p in (scale, shift)))


def _measure_rows(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance, n groups each. x: n c ..., in fp32 or better."""
    if _takes_cpu_kernel(x):  # where the group norm's own moments are many times as fast
        rows = x.flatten(2).contiguous()  # n c p: with three axes there is one memory format only
        count, channels, pixels = rows.shape
        _, mean, rstd = torch.native_group_norm(rows, None, None, count, channels, pixels, groups, 0.0)
        return mean, rstd**-2
    variance, mean = torch.var_mean(x.reshape(len(x), groups, -1), -1, correction=0)
    return mean, variance


def _takes_cpu_kernel(x: Tensor) -> bool:
    return x.is_cpu or x.is_meta  # a rehearsal on "meta" counts what takes more


def _has_fast_moments(x: Tensor) -> bool:
    return x.ndim == 4 and lies_side_by_side(x) and x[0, 0].numel() >= LARGE


def _measure_side_by_side(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of every picture, b groups each, where its channels lie side by side. x: b c h w.

    The batch norm has a fast kernel for the moments of single channels; those of a group merge as pieces do.
    """
    pairs = [torch.batch_norm_update_stats(picture, None, None, 0.0) for picture in some_rows(x).split(1)]
    pairs += pairs[-1:] * (len(x) - len(pairs))  # of rows that a rehearsal skips
    means, variances = (torch.stack(each).unflatten(1, (groups, -1)) for each in zip(*pairs, strict=True))  # b g c
    mean = means.mean(2)
    return mean, (variances + (means - mean[..., None]).square()).mean(2)


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
