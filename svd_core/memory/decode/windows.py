"""Windows of frames for the temporal convolutions, with frames of zeros where the clip ends."""

from __future__ import annotations

import torch
from torch import Tensor

from ...models.kernels.group_norm import ScaleShift
from ...models.kernels.memory_format import format_of


def silu_window(norm: ScaleShift, x: Tensor, zero_before: bool, zero_after: bool) -> Tensor:
    """SiLU of the normalised frames, t c h w, between frames of zeros where the clip ends."""
    window, frames = _make_window(x, zero_before, zero_after)
    norm.silu(x, out=frames)
    return window


def zero_window(x: Tensor, zero_before: bool, zero_after: bool) -> Tensor:
    """The frames, t c h w, between frames of zeros where the clip ends."""
    window, frames = _make_window(x, zero_before, zero_after)
    frames.copy_(x)
    return window


def _make_window(x: Tensor, zero_before: bool, zero_after: bool) -> tuple[Tensor, Tensor]:
    """A window with its zeros written, and the view of it that takes the frames of x."""
    before, after = int(zero_before), int(zero_after)
    shape = (len(x) + before + after, *x.shape[1:])
    window = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x))
    window[:before].zero_()
    window[len(window) - after :].zero_()
    return window, window[before : len(window) - after]
