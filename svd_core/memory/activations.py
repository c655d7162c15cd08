"""How many bytes of activations one evaluation of a network holds at its peak, from shapes alone.

The functions walk the network as it runs and count what is alive at each place: skip connections, the residual, the
buffers of the clip, and the temporaries of the layer at work. They count numbers of the activations' type; what is kept
in fp32 counts more. Attention is taken to be fused: no matrix of scores exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from ..config import ClipVisionConfig, UNetConfig
from ..models.layers import Layers, doubling_size
from ..models.pieces import ALL
from ..models.pieces import Pieces as Split
from ..models.unet.unet import OUTER_BLOCKS, VideoUNet

FEED_FORWARD = 9  # widths a token of a feed-forward: value and gate 8, and its norm or the result 1
CLIP_CONV = 6  # that of trained positions: the sum with them 1, its window 1, three such in a row 3, the product 1
ATTENTION = 6  # its norm, q, k, v, the attended values, the projected ones


@dataclass(frozen=True)
class UNetCall:
    """One evaluation: `clips` in the batch (both guidance branches of a clip are two), `tokens` of context each.

    kept: clips whose deep features stay from one evaluation to the next.
    """

    height: int  # of the latent
    width: int
    num_frames: int
    dtype: torch.dtype
    clips: int = 1
    tokens: int = 1
    kept: int = 0

    @property
    def rows(self) -> int:
        return self.clips * self.num_frames


def unet_bytes(config: UNetConfig, call: UNetCall, split: Split | None = None) -> int:
    """Peak bytes of activations, the input included and the weights not."""
    layers = _Whole(config, call) if split is None else _Split(config, call, split)
    return layers.peak() * call.dtype.itemsize


class KeptFeatures:
    """Deep features of one evaluation, for the next."""

    def __init__(self) -> None:
        self.h: Tensor | None = None

    def recall(self, noisy: Tensor) -> Tensor | None:
        return self.h

    def keep(self, noisy: Tensor, h: Tensor) -> None:
        self.h = h


def evaluate_on_meta(
    config: UNetConfig, call: UNetCall, split: Split | None = None, features: KeptFeatures | None = None
) -> None:
    """One evaluation without data, for a counter to watch."""
    unet = _build_unet(config, call.dtype)

    def empty(*shape: int, dtype: torch.dtype = call.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    unet(
        empty(call.rows, config.in_channels, call.height, call.width),
        empty(1, dtype=torch.float32),
        empty(call.rows, call.tokens, config.context_dim),
        empty(1, config.adm_in_channels),
        call.num_frames,
        pieces=split or ALL,
        features=features,
    )


@lru_cache(maxsize=4)
def _build_unet(config: UNetConfig, dtype: torch.dtype) -> VideoUNet:
    return VideoUNet(config, Layers(device="meta", dtype=dtype))


def clip_bytes(config: ClipVisionConfig, dtype: torch.dtype, pictures: int = 1) -> int:
    """Peak bytes of encoding `pictures` with the CLIP image tower, the pixels included."""
    tokens = pictures * ((config.image_size // config.patch_size) ** 2 + 1)
    pixels = pictures * 3 * config.image_size**2
    # The input of the first layer and of this one, the sum after its attention and that sum's norm stay for the MLP.
    mlp = 4 * config.width + 2 * config.mlp_width
    return (pixels + tokens * mlp) * dtype.itemsize


@dataclass(frozen=True)
class _Block:
    """One numbered block. level: 0 is the finest; c_skip: channels joined to c_in, 0 on the way down."""

    level: int
    c_in: int
    c_out: int
    c_skip: int = 0
    attends: bool = False
    resizes: bool = False


class _Layout:
    """The numbered blocks, laid out as `VideoUNet` has them, and the sizes of their levels."""

    def __init__(self, config: UNetConfig, height: int, width: int) -> None:
        self.config = config
        self.levels = list(enumerate(zip(config.widths, config.attention_levels, strict=True)))
        self.sizes = [(-(-height // 2**level), -(-width // 2**level)) for level, _ in self.levels]
        self.areas = [height * width for height, width in self.sizes]

    def input_blocks(self) -> Iterator[_Block]:
        """Without the first, a lone convolution. Where one resizes, it does nothing else."""
        c_in = self.config.model_channels
        for level, (width, attends) in self.levels:
            for _ in range(self.config.num_res_blocks):
                yield _Block(level, c_in, width, attends=attends)
                c_in = width
            if level < len(self.levels) - 1:
                yield _Block(level + 1, width, width, resizes=True)

    def upsampling(self, block: _Block, frames: int) -> int:
        """Numbers alive while some frames go to the next finer level, beside the frames themselves."""
        height, width = self.sizes[block.level]
        if self.sizes[block.level - 1] == (2 * height, 2 * width):
            return doubling_size(block.c_out, frames, height, width)
        return 2 * frames * block.c_out * self.areas[block.level - 1]

    def output_blocks(self) -> Iterator[_Block]:
        """Where one resizes, it does so last."""
        c_in = self.config.widths[-1]
        skips = [self.config.model_channels, *(block.c_out for block in self.input_blocks())]
        for level, (width, attends) in reversed(self.levels):
            for index in range(self.config.num_res_blocks + 1):
                last = level > 0 and index == self.config.num_res_blocks
                yield _Block(level, c_in, width, skips.pop(), attends, last)
                c_in = width


class _Walk:
    """The way through the UNet: the skip connections that wait, and the highest count so far.

    `source`: numbers that only the block at work holds, of what it reads.
    """

    def __init__(self, config: UNetConfig, call: UNetCall) -> None:
        self.config, self.call = config, call
        self.layout = _Layout(config, call.height, call.width)
        self.held = self.clip(0, config.in_channels) + 3 * call.rows * config.time_embed_dim
        self.held += max(call.kept - call.clips, 0) * self._features()  # the call's own are made anew
        self.highest = 0

    def peak(self) -> int:
        skips = self._down()
        self._middle()
        coarsest = len(self.config.widths) - 1
        h, upsampled = self.clip(coarsest, self.config.widths[-1]), False
        blocks = list(self.layout.output_blocks())
        for index, block in enumerate(blocks):
            if self.call.kept and index == len(blocks) - OUTER_BLOCKS:
                self.held += min(self.call.kept, self.call.clips) * self._features()
                h, upsampled = 0, False  # what the block finds is what is kept
            skip = skips.pop()
            self.held -= skip
            self.resnet(block, h + skip, upsampled)
            if block.attends:
                self.transformer(block, h + skip)
            if block.resizes:
                self.upsample(block, h + skip)
            h, upsampled = self.output(block), block.resizes
        self.head(h, self.clip(0, self.config.model_channels))
        return self.highest

    def _features(self) -> int:
        """Numbers of the deep features of one clip: what the first of the outer blocks finds."""
        reads = list(self.layout.output_blocks())[-OUTER_BLOCKS]
        return self.call.num_frames * self.layout.areas[reads.level] * reads.c_in

    def _down(self) -> list[int]:
        """Sizes of the skip connections, which are held from here on."""
        skips = [self.clip(0, self.config.model_channels)]
        self.held += skips[0]
        for block in self.layout.input_blocks():
            skip = self.clip(block.level, block.c_out)
            if block.resizes:
                self.see(skip)
            else:
                self.resnet(block, 0, False)
            if block.attends:
                self.transformer(block, 0)
            self.held += skip
            skips.append(skip)
        return skips

    def _middle(self) -> None:
        level, width = len(self.config.widths) - 1, self.config.widths[-1]
        block = _Block(level, width, width)
        self.resnet(block, 0, False)
        self.transformer(block, 0)
        self.resnet(block, self.clip(level, width), False)

    def see(self, numbers: float) -> None:
        self.highest = max(self.highest, int(self.held + numbers))

    def clip(self, level: int, channels: int) -> int:
        """Numbers of all clips of the batch."""
        return self.call.rows * self.layout.areas[level] * channels

    def context(self, channels: int) -> int:
        """Numbers that one query position adds where several tokens of context are repeated for it: tokens, k, v."""
        return self.call.tokens * (self.config.context_dim + 2 * channels) if self.call.tokens > 1 else channels

    def resnet(self, block: _Block, source: int, upsampled: bool) -> None:
        raise NotImplementedError

    def transformer(self, block: _Block, source: int) -> None:
        raise NotImplementedError

    def upsample(self, block: _Block, source: int) -> None:
        raise NotImplementedError

    def output(self, block: _Block) -> int:
        """Numbers that the next block finds."""
        raise NotImplementedError

    def head(self, h: int, skip: int) -> None:
        raise NotImplementedError


class _Whole(_Walk):
    """Everything at once."""

    def resnet(self, block: _Block, source: int, upsampled: bool) -> None:
        o, i = self.clip(block.level, block.c_out), self.clip(block.level, block.c_in + block.c_skip)
        joined = i if block.c_skip else 0
        self.see(source + joined + max(i + o, 3 * o, self.clip(block.level, block.c_in) if upsampled else 0))
        if upsampled:
            coarser = replace(block, level=block.level + 1, c_out=block.c_in)
            self.see(source + self.layout.upsampling(coarser, self.call.rows))
        self.see(4 * o)  # what the second temporal convolution reads, in full and normalised, its result, and the sum

    def transformer(self, block: _Block, source: int) -> None:
        o, rows = self.clip(block.level, block.c_out), self.call.clips * self.layout.areas[block.level]
        # Three clips wait: the residual, the spatial tokens, and these with their positions.
        self.see((3 + (self.config.num_positions > 0) + FEED_FORWARD) * o)
        self.see(7 * o + rows * self.context(block.c_out))

    def upsample(self, block: _Block, source: int) -> None:
        """Left to the next block."""

    def output(self, block: _Block) -> int:
        return self.clip(block.level, block.c_out)

    def head(self, h: int, skip: int) -> None:
        self.see(2 * h + self.clip(0, self.config.out_channels))


class _Split(_Walk):
    """A piece at a time, beside two clip-sized buffers."""

    def __init__(self, config: UNetConfig, call: UNetCall, split: Split) -> None:
        super().__init__(config, call)
        self.split = split
        self.fp32 = 4 // call.dtype.itemsize if call.dtype.itemsize < 4 else 0  # moments are taken of a copy

    def resnet(self, block: _Block, source: int, upsampled: bool) -> None:
        piece = self._piece(block)
        area, rows = self.layout.areas[block.level], self.call.rows
        first = min(piece.frames, rows)
        later = min(piece.frames, rows - first)  # the buffer is made once the first piece has shown its size
        pixels = min(piece.pixels, area) * self.call.num_frames
        c_in, c_out, clip = block.c_in + block.c_skip, block.c_out, self.clip(block.level, block.c_out)
        joined = c_in if block.c_skip else 0
        resampled = block.c_in if upsampled else 0
        coarser = replace(block, level=block.level + 1, c_out=block.c_in)
        reading = resampled + joined
        spatial = joined + max(c_in + c_out, 3 * c_out)
        summing = (1 + self.fp32) * c_out
        self.see(source + first * area * max(reading, spatial))
        self.see(source + clip + area * max(first * summing, later * max(reading, spatial)))
        if upsampled:
            self.see(source + self.layout.upsampling(coarser, first))
            self.see(source + clip + (self.layout.upsampling(coarser, later) if later else 0))
        self.see(clip + clip // self.call.clips + pixels * max(2 * c_out, summing))

    def transformer(self, block: _Block, source: int) -> None:
        piece, area, c = self._piece(block), self.layout.areas[block.level], block.c_out
        rows, pixels = min(piece.frames, self.call.rows), min(piece.pixels, area)
        frames, placed = rows * area, pixels * self.call.num_frames
        heads = c // self.config.head_dim * 4 / self.call.dtype.itemsize  # the log-sum-exp of each query, fp32
        buffers = 2 * self.clip(block.level, c)
        self.see(buffers + max(frames * (ATTENTION * c + heads), self._feed_forward(piece, frames, c)))
        self.see(buffers + frames * 4 * c + rows * self.context(c))
        if self.config.num_positions:  # one clip is convolved, into a buffer of its own
            window = min(piece.frames, self.call.num_frames) + 2
            buffers += self.call.num_frames * area * c
            self.see(buffers + CLIP_CONV * window * area * c)
        self.see(buffers + placed * c + max(placed * (ATTENTION * c + heads), self._feed_forward(piece, placed, c)))
        self.see(buffers + placed * 5 * c + pixels * self.context(c))

    def upsample(self, block: _Block, source: int) -> None:
        """Left to the next block."""

    def output(self, block: _Block) -> int:
        return self.clip(block.level, block.c_out)

    def head(self, h: int, skip: int) -> None:
        frames = min(self.split.frames, self.call.rows) * self.layout.areas[0]
        self.see(h + self.clip(0, self.config.out_channels) + 2 * frames * self.config.model_channels)

    def _feed_forward(self, piece: Split, tokens: int, channels: int) -> int:
        return FEED_FORWARD * channels * min(piece.tokens, tokens)

    def _piece(self, block: _Block) -> Split:
        return self.split.at(
            block.c_out / self.config.model_channels, self.layout.areas[block.level] / self.layout.areas[0]
        )
