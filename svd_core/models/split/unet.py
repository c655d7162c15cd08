"""The walk through the UNet, block by block, each a piece of the clip at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...diffusion.step_cache import OUTER_BLOCKS, Features
from ..unet.resnet import Upsample, VideoResBlock
from ..unet.transformer import SpatialVideoTransformer
from .conditions import Conditions
from .resnet import run_resnet
from .size import Split, pieces
from .source import Source
from .transformer import run_transformer

if TYPE_CHECKING:
    from ..unet.unet import VideoUNet


@torch.no_grad()
def run_split(
    unet: VideoUNet, x: Tensor, conditions: Conditions, split: Split, features: Features | None = None
) -> Tensor:
    """`unet` of x, (b t) 8 h w, equal up to the order of summation. Returns (b t) 4 h w."""
    return _Walk(unet, conditions, split, x.shape[-2] * x.shape[-1]).run(x, features)


class _Walk:
    def __init__(self, unet: VideoUNet, conditions: Conditions, split: Split, area: int) -> None:
        self.unet, self.conditions, self.split, self.area = unet, conditions, split, area
        self.hooks = conditions.hooks

    def run(self, x: Tensor, features: Features | None) -> Tensor:
        noisy = x[:, : self.unet.config.out_channels]
        deep = None if features is None else features.recall(noisy)
        first_outer = len(self.unet.output_blocks) - OUTER_BLOCKS

        source, skips = Source(x), []
        blocks = self.unet.input_blocks if deep is None else self.unet.input_blocks[:OUTER_BLOCKS]
        for index, block in enumerate(blocks):
            self.hooks.before_block("input", index)
            source = self._run_block(block, source)
            source.h, skip = self.hooks.after_input_block(self._whole(source))
            skips.append(skip)
            del skip

        if deep is None:
            self.hooks.before_block("middle", 0)
            source = self._run_block(self.unet.middle_block, source)
            source.h = self.hooks.after_middle_block(self._whole(source))

        for index, block in enumerate(self.unet.output_blocks):
            if deep is not None and index < first_outer:
                continue
            if features is not None and index == first_outer:
                h = self._whole(source) if deep is None else deep
                if deep is None:
                    features.keep(noisy, h)
                source = Source(h.clone() if self.hooks.watches_output_block() else h)  # it may be written into
                del h
            self.hooks.before_block("output", index)
            self._join(source, skips.pop())
            source = self._run_block(block, source, skips[-1].shape[-2:] if skips else None)
        return self._head(self._whole(source), x)

    def _run_block(self, block: nn.Module, source: Source, size: torch.Size | None = None) -> Source:
        """size: of the skip connection to come, where there is one."""
        for layer in block.children():
            if isinstance(layer, VideoResBlock):
                split = self._split_at(layer.channels, source)
                source = Source(run_resnet(layer, source, self.conditions, split))
            elif isinstance(layer, SpatialVideoTransformer):
                split = self._split_at(layer.channels, source)
                source = Source(run_transformer(layer, self._whole(source), self.conditions, split))
            elif isinstance(layer, Upsample) and size is not None:
                source.upsample = layer, (size[0], size[1])
            else:
                source = Source(layer(self._whole(source)))
        return source

    def _join(self, source: Source, skip: Tensor) -> None:
        if self.hooks.watches_output_block():
            source.h, source.skip = self.hooks.before_output_block(self._whole(source), skip)
        else:
            source.skip = skip

    def _head(self, h: Tensor, like: Tensor) -> Tensor:
        """h: (b t) c h w. Returns (b t) 4 h w."""
        whole = like.new_empty(len(h), self.unet.config.out_channels, *h.shape[-2:])
        for rows in pieces(len(h), self.split.frames):
            whole[rows] = self.unet.out(h[rows].to(like.dtype))
        return whole

    def _whole(self, source: Source) -> Tensor:
        return source.take(self.split.frames)

    def _split_at(self, channels: int, source: Source) -> Split:
        height, width = source.size
        return self.split.at(channels / self.unet.config.model_channels, height * width / self.area)
