"""Picture to latent moments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from ...config import AutoencoderConfig
from ..kernels.group_norm import normalise_silu
from ..layers import Layers
from .blocks import Downsample, Middle, ResnetBlock


class EncoderLevel(nn.Module):
    """`downsample` is absent on the coarsest level."""

    def __init__(self, layers: Layers, config: AutoencoderConfig, c_in: int, c_out: int, last: bool) -> None:
        super().__init__()
        widths = [c_in] + [c_out] * config.num_res_blocks
        self.block = nn.ModuleList(ResnetBlock(layers, config, a, b) for a, b in pairwise(widths))
        self.downsample = nn.Identity() if last else Downsample(layers, c_out)

    def layers(self) -> Iterator[nn.Module]:
        """The layers in order, to be called one by one: a call of the whole level would hold its input to the end."""
        yield from self.block
        yield self.downsample


class Encoder(nn.Module):
    def __init__(self, layers: Layers, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = layers.conv(config.image_channels, config.channels)
        self.down = nn.ModuleList(
            EncoderLevel(layers, config, c_in, c_out, last=level == len(widths) - 1)
            for level, (c_in, c_out) in enumerate(zip((config.channels, *widths), widths, strict=False))
        )
        self.mid = Middle(layers, config, ResnetBlock, widths[-1])
        self.norm_out = layers.group_norm(config.norm_groups, widths[-1], config.spatial_eps)
        self.conv_out = layers.conv(widths[-1], 2 * config.latent_channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: b 3 8h 8w. Returns mean and log-variance side by side, b 8 h w."""
        x = self.conv_in(x)
        for level in cast(Iterable[EncoderLevel], self.down):
            for layer in level.layers():
                x = layer(x)
        return self.conv_out(normalise_silu(self.norm_out, self.mid(x)))
