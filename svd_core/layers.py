"""Weight-bearing layers, made from an injected namespace.

The core uses `torch.nn`; a host passes its own operations (same class names), which is what lets it keep weights
elsewhere, cast them at use, or patch them. Nothing here touches a weight while constructing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Operations(Protocol):
    """The classes a namespace of operations must offer; `torch.nn` is one."""

    Linear: Any
    Conv2d: Any
    Conv3d: Any
    GroupNorm: Any
    LayerNorm: Any
    Embedding: Any


def convolve_window(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Frames t+2 c n to t o n under a kernel o c 3: one matrix product per frame, and no copy of the frames.

    Three frames in a row are already one matrix of 3c rows.
    """
    triples = x.unfold(0, 3, 1).permute(0, 3, 1, 2).flatten(1, 2)  # t (k c) n, overlapping
    taps = rearrange(weight, "o c k -> o (k c)").expand(len(triples), -1, -1)
    return torch.bmm(taps, triples) if bias is None else torch.baddbmm(bias[:, None], taps, triples)


@cache
def _temporal_conv_class(conv3d: type[nn.Conv3d]) -> type[nn.Conv3d]:
    class TemporalConv(conv3d):
        """Three-tap convolution over frames, stored as (3, 1, 1) but run as a 2-D convolution of b c t n.

        Exact, and independent of Conv3d back-ends, which some devices lack or run slowly. Three axes are a window of
        frames with a neighbour on each side, t+2 c n, and give the frames between, t c n.
        """

        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any, **__: Any) -> Tensor:
            if x.ndim == 3:
                return convolve_window(x, weight.flatten(2), bias)
            return F.conv2d(x, weight.squeeze(-1), bias, padding=(weight.shape[2] // 2, 0))  # b c t n

    return TemporalConv


@cache
def _clip_conv_class(conv3d: type[nn.Conv3d]) -> type[nn.Conv3d]:
    class ClipConv(conv3d):
        """3x3x3 convolution of frames with a neighbour on each side, t+2 c h w; gives the frames between, t c h w.

        Pictures mirror at their edges. Run as a 2-D convolution of three frames side by side, for the same reasons.
        """

        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any, **__: Any) -> Tensor:
            x = _mirror(_mirror(x, (1, 1, 0, 0), x.shape[-1]), (0, 0, 1, 1), x.shape[-2])
            triples = torch.stack([x[:-2], x[1:-1], x[2:]], dim=2)  # t c k h+2 w+2
            return F.conv2d(triples.flatten(1, 2), weight.flatten(1, 2), bias)  # both views: nothing is copied

    return ClipConv


def _mirror(x: Tensor, padding: tuple[int, int, int, int], side: int) -> Tensor:
    """x with one mirrored row on both ends of the axis that is padded; a lone row is its own mirror image."""
    return F.pad(x, padding, mode="reflect" if side > 1 else "replicate")


@dataclass(frozen=True)
class Layers:
    """Makes layers of one namespace, dtype and device."""

    operations: Operations = nn
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None

    def linear(self, c_in: int, c_out: int, bias: bool = True) -> nn.Module:
        return self.operations.Linear(c_in, c_out, bias=bias, dtype=self.dtype, device=self.device)

    def conv(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Module:
        """2-D convolution; padding keeps the size unless given."""
        padding = kernel // 2 if padding is None else padding
        return self.operations.Conv2d(
            c_in, c_out, kernel, stride=stride, padding=padding, dtype=self.dtype, device=self.device
        )

    def patch_conv(self, c_in: int, c_out: int, patch: int) -> nn.Module:
        """Non-overlapping patches, no bias (the ViT stem)."""
        return self.operations.Conv2d(
            c_in, c_out, patch, stride=patch, bias=False, dtype=self.dtype, device=self.device
        )

    def temporal_conv(self, c_in: int, c_out: int) -> nn.Module:
        """Convolution over frames of b c t n, kernel 3, zeros beyond the clip's ends."""
        conv = _temporal_conv_class(self.operations.Conv3d)
        return conv(c_in, c_out, (3, 1, 1), padding=(1, 0, 0), dtype=self.dtype, device=self.device)

    def clip_conv(self, channels: int) -> nn.Module:
        """Convolution of frames in space and time, kernel 3; see the class above for what it takes."""
        conv = _clip_conv_class(self.operations.Conv3d)
        return conv(channels, channels, 3, padding=1, dtype=self.dtype, device=self.device)

    def group_norm(self, groups: int, channels: int, eps: float) -> nn.GroupNorm:
        return self.operations.GroupNorm(groups, channels, eps=eps, dtype=self.dtype, device=self.device)

    def layer_norm(self, width: int, eps: float = 1e-5) -> nn.Module:
        return self.operations.LayerNorm(width, eps=eps, dtype=self.dtype, device=self.device)

    def embedding(self, count: int, width: int) -> nn.Module:
        return self.operations.Embedding(count, width, dtype=self.dtype, device=self.device)

    def parameter(self, *shape: int) -> nn.Parameter:
        """A raw parameter, zero until weights are loaded; cast it at use, a host need not move it."""
        return nn.Parameter(torch.zeros(shape, dtype=self.dtype, device=self.device))
