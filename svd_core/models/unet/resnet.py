"""Residual blocks of the UNet, in space and over frames, and its changes of resolution."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..blend import AlphaBlender
from ..kernels.group_norm import activated
from ..kernels.memory_format import clips_of_frames, frames_of_clips
from ..layers import Layers
from .hooks import UNetHooks


class ResBlock(nn.Module):
    """norm, SiLU, conv; add the time embedding; norm, SiLU, conv; add the input.

    The sequences are there for the official names. The SiLU of `emb_layers` is the same for all blocks, so the network
    takes it once.
    """

    def __init__(self, layers: Layers, c_in: int, c_out: int, emb_dim: int, groups: int, eps: float) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(layers.group_norm(groups, c_in, eps), nn.SiLU(), layers.conv(c_in, c_out))
        self.emb_layers = nn.Sequential(nn.SiLU(), layers.linear(emb_dim, c_out))
        self.out_layers = nn.Sequential(
            layers.group_norm(groups, c_out, eps), nn.SiLU(), nn.Identity(), layers.conv(c_out, c_out)
        )
        self.skip_connection = nn.Identity() if c_in == c_out else layers.conv(c_in, c_out, kernel=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x: bt c h w; emb: bt d or 1 d, the SiLU of the embedding."""
        norm1, _, conv1 = self.in_layers
        _, project = self.emb_layers
        norm2, _, _, conv2 = self.out_layers
        h = conv1(activated(norm1, x))
        h += project(emb)[:, :, None, None]
        h = activated(norm2, h)
        h = conv2(h)
        h += self.skip_connection(x)
        return h


class TemporalResBlock(nn.Module):
    """f of the temporal path s + f(s), a residual block; its norms take their statistics over the whole clip."""

    def __init__(self, layers: Layers, channels: int, emb_dim: int, groups: int, eps: float) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            layers.group_norm(groups, channels, eps), nn.SiLU(), layers.temporal_conv(channels, channels)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), layers.linear(emb_dim, channels))
        self.out_layers = nn.Sequential(
            layers.group_norm(groups, channels, eps),
            nn.SiLU(),
            nn.Identity(),
            layers.temporal_conv(channels, channels),
        )

    def forward(self, x: Tensor, emb: Tensor, num_frames: int) -> Tensor:
        """x: b c t n; emb: (b t) d or 1 d, the SiLU of the embedding."""
        (norm1, conv1), (norm2, conv2) = self.norms_and_convs()
        h = conv1(activated(norm1, x))
        h += self.shift(emb, num_frames)
        h = activated(norm2, h)
        return conv2(h)

    def shift(self, emb: Tensor, num_frames: int) -> Tensor:
        """What the embedding adds, b c t 1, or 1 c 1 1 where it is that of all frames."""
        _, project = self.emb_layers
        return rearrange(project(emb), "(b t) c -> b c t 1", t=num_frames if len(emb) > 1 else 1)

    def norms_and_convs(self) -> tuple[tuple[nn.GroupNorm, nn.Module], tuple[nn.GroupNorm, nn.Module]]:
        """What takes the moments of the clip, and what follows, in order."""
        norm1, _, conv1 = self.in_layers
        norm2, _, _, conv2 = self.out_layers
        return (cast(nn.GroupNorm, norm1), conv1), (cast(nn.GroupNorm, norm2), conv2)


class VideoResBlock(ResBlock):
    """A residual block in space followed by one over frames, blended by a learned weight."""

    def __init__(self, layers: Layers, c_in: int, c_out: int, emb_dim: int, groups: int, eps: float) -> None:
        super().__init__(layers, c_in, c_out, emb_dim, groups, eps)
        self.channels = c_out
        self.time_stack = TemporalResBlock(layers, c_out, emb_dim, groups, eps)
        self.time_mixer = AlphaBlender()

    def forward(  # type: ignore[override]
        self, x: Tensor, emb: Tensor, num_frames: int, image_only: Tensor | None, hooks: UNetHooks
    ) -> Tensor:
        """x: (b t) c h w; emb: (b t) d or 1 d, its SiLU taken; image_only: (b t) or None."""
        spatial = self.spatial(x, emb)
        update = self.time_stack(clips_of_frames(spatial, num_frames), emb, num_frames)
        update = frames_of_clips(update, spatial.shape[2])
        # α s + (1 - α) (s + f(s)) = s + (1 - α) f(s)
        weight = hooks.once(self.time_mixer, lambda: self.time_mixer.temporal_weight(spatial, image_only))
        return torch.addcmul(spatial, weight, update)

    def spatial(self, x: Tensor, emb: Tensor) -> Tensor:
        """The half within each frame. x: bt c h w; emb: bt d or 1 d, its SiLU taken."""
        return super().forward(x, emb)


class Downsample(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.op = layers.conv(channels, channels, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)  # bt c ⌈h/2⌉ ⌈w/2⌉


class Upsample(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv = layers.doubling_conv(channels, channels)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """`size` is that of the skip connection to come: twice x, or one less where an odd size was halved."""
        if tuple(size) == (2 * x.shape[2], 2 * x.shape[3]):
            return self.conv(x[None])[0]
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
