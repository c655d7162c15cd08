"""The parts of encoder and decoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...config import AutoencoderConfig
from ..kernels.group_norm import normalise, normalise_silu
from ..kernels.memory_format import clips_of_frames, frames_of_clips
from ..layers import Layers
from ..temporal import TemporalResBlock, blend_weight


class ResnetBlock(nn.Module):
    """norm, SiLU, conv, twice, and the input added."""

    def __init__(self, layers: Layers, config: AutoencoderConfig, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1 = layers.group_norm(config.norm_groups, c_in, config.spatial_eps)
        self.conv1 = layers.conv(c_in, c_out)
        self.norm2 = layers.group_norm(config.norm_groups, c_out, config.spatial_eps)
        self.conv2 = layers.conv(c_out, c_out)
        self.nin_shortcut = nn.Identity() if c_in == c_out else layers.conv(c_in, c_out, kernel=1)

    def spatial(self, x: Tensor) -> Tensor:
        """x: bt c h w. Each picture by itself; never more than three tensors of the picture's size."""
        h = x
        for norm, conv in self.norms_and_convs():
            h = normalise_silu(norm, h)  # in two statements, so that the tensor before is free when conv runs
            h = conv(h)
        return self.add_input(h, x)

    def norms_and_convs(self) -> tuple[tuple[nn.GroupNorm, nn.Module], tuple[nn.GroupNorm, nn.Module]]:
        """Both halves in their parts, for those who bring the moments of pictures that they see in bands."""
        return (self.norm1, self.conv1), (self.norm2, self.conv2)

    def add_input(self, h: Tensor, x: Tensor) -> Tensor:
        """h, which is overwritten, plus the shortcut of x."""
        h += self.nin_shortcut(x)
        return h

    def forward(self, x: Tensor, num_frames: int = 1) -> Tensor:
        """x: bt c h w; num_frames is for the temporal block of the same interface."""
        return self.spatial(x)


class VideoResnetBlock(ResnetBlock):
    """s = residual block per frame; s + α f(s) over frames, α = sigmoid(mix_factor).

    Here α weighs the temporal path: the reverse of the UNet.
    """

    def __init__(self, layers: Layers, config: AutoencoderConfig, c_in: int, c_out: int) -> None:
        super().__init__(layers, config, c_in, c_out)
        self.time_stack = TemporalResBlock(layers, c_out, config.norm_groups, config.temporal_eps)
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def temporal_weight(self, like: Tensor) -> Tensor:
        """α, a fp32 scalar tensor on the device of `like`."""
        return blend_weight(self.mix_factor, like)

    def forward(self, x: Tensor, num_frames: int = 1) -> Tensor:
        """x: (b t) c h w."""
        s = self.spatial(x)
        weight = self.temporal_weight(s).to(s.dtype)
        return frames_of_clips(self.time_stack(clips_of_frames(s, num_frames), weight), s.shape[2], s.shape[3])


def _tokens(x: Tensor) -> Tensor:
    """b c h w → b 1 (h w) c, contiguous: fused attention kernels take nothing else."""
    return rearrange(x, "b c h w -> b 1 (h w) c").contiguous()


class AttnBlock(nn.Module):
    """Single-head attention within each picture."""

    def __init__(self, layers: Layers, config: AutoencoderConfig, channels: int) -> None:
        super().__init__()
        self.norm = layers.group_norm(config.norm_groups, channels, config.spatial_eps)
        self.q, self.k, self.v, self.proj_out = (layers.conv(channels, channels, kernel=1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """x: bt c h w."""
        h = normalise(self.norm, x)
        return x + self.attend(h, *self.keys_values(h))

    def keys_values(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, bt 1 (h w) c each, of normalised pictures bt c h w."""
        return _tokens(self.k(h)), _tokens(self.v(h))

    def attend(self, h: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of some rows of the normalised pictures, bt c h w, to all tokens."""
        gathered = F.scaled_dot_product_attention(_tokens(self.q(h)), keys, values)
        return self.proj_out(rearrange(gathered, "b 1 (h w) c -> b c h w", h=h.shape[2]))


class Middle(nn.Module):
    """Block, attention, block, at the coarsest level."""

    def __init__(self, layers: Layers, config: AutoencoderConfig, block: type[ResnetBlock], channels: int) -> None:
        super().__init__()
        self.block_1 = block(layers, config, channels, channels)
        self.attn_1 = AttnBlock(layers, config, channels)
        self.block_2 = block(layers, config, channels, channels)

    def forward(self, x: Tensor, num_frames: int = 1) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x, num_frames)), num_frames)


class Upsample(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv = layers.doubling_conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[None])[0]  # bt c 2h 2w


class Downsample(nn.Module):
    """Stride 2, with the padding on the right and at the bottom only."""

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv = layers.conv(channels, channels, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # bt c h/2 w/2
