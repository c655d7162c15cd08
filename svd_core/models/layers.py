"""Weight-bearing layers, made from an injected namespace.

The core uses `torch.nn`; a host passes its own operations (same class names), which is what lets it keep weights
elsewhere, cast them at use, or patch them. Nothing here touches a weight while constructing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .kernels import winograd
from .kernels.memory_format import format_of

# Below this many pixels (batch x height x width) merging the taps of a doubled convolution costs more than it saves.
WORTH_FOUR_PHASES = 256

Module = TypeVar("Module", bound=nn.Module)


class Operations(Protocol):
    """The classes a namespace of operations must offer; `torch.nn` is one."""

    Linear: Any
    Conv2d: Any
    Conv3d: Any
    GroupNorm: Any
    LayerNorm: Any
    Embedding: Any


def convolve_window(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Frames t+2 c n to t o n under a kernel o c 3, without a copy of the frames.

    Three frames in a row are already one matrix of 3c rows: one product per frame. Channels that lie side by side are
    left to the library's convolution, which has kernels for them.
    """
    if x.stride(1) == 1 and x.shape[2] > 1:
        return F.conv2d(x[None].transpose(1, 2), weight[..., None], bias)[0].transpose(0, 1)
    triples = x.unfold(0, 3, 1).permute(0, 3, 1, 2).flatten(1, 2)  # t (k c) n, overlapping
    taps = rearrange(weight, "o c k -> o (k c)").expand(len(triples), -1, -1)
    return torch.bmm(taps, triples) if bias is None else torch.baddbmm(bias[:, None], taps, triples)


def convolve_doubled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The 3x3 convolution of x, b c h w, doubled in size by repeating pixels: b o 2h 2w.

    Of its three rows of taps two always fall on the same row of x, columns alike. So each of the four phases of the
    result is a 2x2 convolution of x itself, and all four together take 4/9 of the arithmetic.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (1, 1, 1, 1))
    shape = len(x), len(weight), 2 * height, 2 * width
    doubled = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x))
    for row, column in product((0, 1), (0, 1)):
        seen = padded[..., row : row + height + 1, column : column + width + 1]
        taps = _merge_taps(_merge_taps(weight, row, dim=2), column, dim=3)  # o c 2 2
        doubled[..., row::2, column::2] = F.conv2d(seen, taps, bias)
        del taps  # or they stay while the next are made
    return doubled


def _merge_taps(weight: Tensor, phase: int, dim: int) -> Tensor:
    """w0, w1, w2 → w0, w1 + w2 on even rows (or columns) of the result, and w0 + w1, w2 on odd ones."""
    w0, w1, w2 = weight.split(1, dim)
    return torch.cat([w0, w1 + w2] if phase == 0 else [w0 + w1, w2], dim)


@cache
def _picture_conv_class(conv2d: type[nn.Conv2d], on_cpu: bool) -> type[nn.Conv2d]:
    class PictureConv(conv2d):
        """A 3x3 convolution that keeps the size of its pictures, b c h w."""

        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any, **__: Any) -> Tensor:
            if winograd.pays(x, weight, winograd.PLAIN, on_cpu):
                return winograd.convolve(x, weight, bias, winograd.PLAIN)
            return F.conv2d(x, weight, bias, padding=1)

    return PictureConv


@cache
def _doubling_conv_class(conv2d: type[nn.Conv2d], on_cpu: bool) -> type[nn.Conv2d]:
    class DoublingConv(_picture_conv_class(conv2d, on_cpu)):
        """A 3x3 convolution that also takes a picture before it is doubled in size: as 1 b c h w, to 1 b o 2h 2w.

        It is here, where a host has cast and patched the weights, that their sums may be taken.
        """

        def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None, *_: Any, **__: Any) -> Tensor:
            if x.ndim == 4:
                return super()._conv_forward(x, weight, bias)
            if winograd.pays(x[0], weight, winograd.DOUBLED, on_cpu):
                return winograd.convolve(x[0], weight, bias, winograd.DOUBLED)[None]
            if x[0, :, 0].numel() >= WORTH_FOUR_PHASES:
                return convolve_doubled(x[0], weight, bias)[None]
            doubled = F.interpolate(x[0], scale_factor=2.0, mode="nearest")
            return super()._conv_forward(doubled, weight, bias)[None]

    return DoublingConv


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


@cache
def _without_initialiser(layer: type[Module]) -> type[Module]:
    """The same layer for the meta device, where there is nothing to initialise and each attempt costs time."""
    return cast(type[Module], type(layer.__name__, (layer,), {"reset_parameters": lambda self: None}))


@dataclass(frozen=True)
class Layers:
    """Makes layers of one namespace, dtype and device.

    on_cpu: on "meta", convolutions also allocate the work space that they take on a CPU, for those who count memory.
    """

    operations: Operations = nn
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None
    on_cpu: bool = False

    def linear(self, c_in: int, c_out: int, bias: bool = True) -> nn.Module:
        return self._make(self.operations.Linear, c_in, c_out, bias=bias)

    def conv(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> nn.Module:
        """2-D convolution; padding keeps the size unless given."""
        if (kernel, stride, padding) == (3, 1, None):
            return self._make(_picture_conv_class(self.operations.Conv2d, self.on_cpu), c_in, c_out, 3, padding=1)
        padding = kernel // 2 if padding is None else padding
        return self._make(self.operations.Conv2d, c_in, c_out, kernel, stride=stride, padding=padding)

    def doubling_conv(self, c_in: int, c_out: int) -> nn.Module:
        """3x3 convolution of b c h w, which keeps the size, or of a picture to be doubled first, 1 b c h w."""
        return self._make(_doubling_conv_class(self.operations.Conv2d, self.on_cpu), c_in, c_out, 3, padding=1)

    def patch_conv(self, c_in: int, c_out: int, patch: int) -> nn.Module:
        """Non-overlapping patches, no bias (the ViT stem)."""
        return self._make(self.operations.Conv2d, c_in, c_out, patch, stride=patch, bias=False)

    def temporal_conv(self, c_in: int, c_out: int) -> nn.Module:
        """Convolution over frames of b c t n, kernel 3, zeros beyond the clip's ends."""
        return self._make(_temporal_conv_class(self.operations.Conv3d), c_in, c_out, (3, 1, 1), padding=(1, 0, 0))

    def clip_conv(self, channels: int) -> nn.Module:
        """Convolution of frames in space and time, kernel 3; see the class above for what it takes."""
        return self._make(_clip_conv_class(self.operations.Conv3d), channels, channels, 3, padding=1)

    def group_norm(self, groups: int, channels: int, eps: float) -> nn.GroupNorm:
        return self._make(self.operations.GroupNorm, groups, channels, eps=eps)

    def layer_norm(self, width: int, eps: float = 1e-5) -> nn.Module:
        return self._make(self.operations.LayerNorm, width, eps=eps)

    def embedding(self, count: int, width: int) -> nn.Module:
        return self._make(self.operations.Embedding, count, width)

    def parameter(self, *shape: int) -> nn.Parameter:
        """A raw parameter, zero until weights are loaded; cast it at use, a host need not move it."""
        return nn.Parameter(torch.zeros(shape, dtype=self.dtype, device=self.device))

    def _make(self, layer: type[Module], *sizes: Any, **options: Any) -> Module:
        if self.device is not None and torch.device(self.device).type == "meta":
            layer = _without_initialiser(layer)
        return layer(*sizes, **options, dtype=self.dtype, device=self.device)
