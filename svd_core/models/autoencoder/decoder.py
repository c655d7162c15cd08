"""Latents to pictures: one skeleton for the temporal and the plain image decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from ...config import AutoencoderConfig
from ..kernels.group_norm import normalise_silu
from ..kernels.memory_format import best_format, clips_of_frames, frames_of_clips, laid_out
from ..layers import Layers
from .blocks import Middle, ResnetBlock, Upsample, VideoResnetBlock

Layer = Callable[[Tensor], Tensor]


class DecoderLevel(nn.Module):
    """Blocks of one resolution, and the layer that doubles it; the finest level has none."""

    def __init__(
        self, layers: Layers, config: AutoencoderConfig, block: type[ResnetBlock], c_in: int, c_out: int, finest: bool
    ) -> None:
        super().__init__()
        widths = [c_in] + [c_out] * (config.num_res_blocks + 1)
        self.block = nn.ModuleList(block(layers, config, a, b) for a, b in pairwise(widths))
        self.upsample = nn.Identity() if finest else Upsample(layers, c_out)


class Decoder(nn.Module):
    """The image decoder treats frames alone; the temporal one couples all frames of a clip.

    Levels are numbered from the finest, as in the official names, and run from the coarsest.
    """

    def __init__(self, layers: Layers, config: AutoencoderConfig) -> None:
        super().__init__()
        block = VideoResnetBlock if config.temporal_decoder else ResnetBlock
        widths = config.widths
        self.conv_in = layers.conv(config.latent_channels, widths[-1])
        self.mid = Middle(layers, config, block, widths[-1])
        self.up = nn.ModuleList(
            DecoderLevel(layers, config, block, c_in, c_out, finest=level == 0)
            for level, (c_out, c_in) in enumerate(zip(widths, (*widths[1:], widths[-1]), strict=True))
        )
        self.norm_out = layers.group_norm(config.norm_groups, widths[0], config.spatial_eps)
        self.conv_out = layers.conv(widths[0], config.image_channels)
        self.image_channels, self.temporal = config.image_channels, config.temporal_decoder
        if self.temporal:
            # The official name puts this layer below the convolution that it follows.
            self.conv_out.time_mix_conv = layers.temporal_conv(config.image_channels, config.image_channels)

    def memory_format(self, like: Tensor) -> torch.memory_format:
        """Memory format of the activations for latents like the given ones."""
        return best_format(like, self.norm_out.num_channels)

    def steps(self) -> list[tuple[Layer, ResnetBlock]]:
        """The residual blocks in order, each with the layer before it, which sees one frame at a time."""
        steps: list[tuple[Layer, ResnetBlock]] = [
            (self.conv_in, self.mid.block_1),
            (self.mid.attn_1, self.mid.block_2),
        ]
        before: Layer = nn.Identity()
        for level in reversed(list(cast(Iterable[DecoderLevel], self.up))):
            for block in cast(Iterable[ResnetBlock], level.block):
                steps.append((before, block))
                before = nn.Identity()
            before = level.upsample
        return steps

    def forward(self, z: Tensor, num_frames: int) -> Tensor:
        """z: (b t) 4 h w, unscaled latents. Returns (b t) 3 8h 8w, about [-1, 1], unclamped."""
        x = laid_out(z, self.norm_out.num_channels)
        for layer, block in self.steps():
            x = layer(x)
            x = block(x, num_frames)
        x = self.head(x)
        return self.mix_frames(x, num_frames) if self.temporal else x

    def head(self, x: Tensor) -> Tensor:
        """The last norm and convolution of each frame."""
        return self.conv_out(normalise_silu(self.norm_out, x))

    def mix_frames(self, x: Tensor, num_frames: int) -> Tensor:
        """The temporal decoder's last layer, a convolution over the frames of the finished pictures."""
        mixed = self.conv_out.time_mix_conv(clips_of_frames(x, num_frames))  # type: ignore[operator]
        return frames_of_clips(mixed, x.shape[2], x.shape[3])
