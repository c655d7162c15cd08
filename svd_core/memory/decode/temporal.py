"""The temporal layers, swept over a clip a few frames at a time.

A window has true neighbours on each side, and frames of zeros only where the clip ends.
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ...models.autoencoder.blocks import VideoResnetBlock
from ...models.autoencoder.decoder import Decoder
from ...models.kernels.group_norm import Moments, measure, scale_shift
from .clip_buffer import ClipBuffer, Tile
from .sweep import Workspace
from .windows import silu_window, zero_window


def temporal_half(space: Workspace, block: VideoResnetBlock, clip: ClipBuffer, moments: list[Moments]) -> None:
    """s + α conv2(h), h = conv1(s), both of normalised frames; in place, as s is needed for its own frame alone."""
    (norm1, conv1), (norm2, conv2) = block.time_stack.norms_and_convs()
    num_frames = clip.shape[0]
    hidden = space.buffer(*clip.shape)
    hidden_moments: list[Moments] = []
    affine = space.make(lambda: scale_shift(norm1, moments, space.like))

    def first(tile: Tile, inputs: list[Tensor]) -> None:
        x = silu_window(affine, inputs.pop(), tile.start == 0, tile.stop == num_frames)
        x = _convolve(conv1, x)
        measured = measure(x, norm2.num_groups)
        hidden.write(tile, x)
        hidden_moments.extend(measured)

    space.sweep(clip.whole, lambda tile: [clip.read(tile.with_frames(1, 1, num_frames))], first)
    affine = space.make(lambda: scale_shift(norm2, hidden_moments, space.like))
    weight = space.make(lambda: block.temporal_weight(space.like))

    def second(tile: Tile, inputs: list[Tensor]) -> None:
        x = silu_window(affine, inputs.pop(), tile.start == 0, tile.stop == num_frames)
        x = _convolve(conv2, x)
        spatial = inputs.pop()
        torch.addcmul(spatial, x, weight, out=spatial)
        clip.write(tile, spatial)

    space.sweep(clip.whole, lambda tile: [clip.read(tile), hidden.read(tile.with_frames(1, 1, num_frames))], second)
    hidden.release()


def _convolve(conv: nn.Module, window: Tensor) -> Tensor:
    """Frames with a neighbour on each side, t+2 c h w, to t c h w."""
    return rearrange(conv(window.flatten(2)), "t c (h w) -> t c h w", h=window.shape[2])


def temporal_half_recomputed(
    space: Workspace, block: VideoResnetBlock, clip: ClipBuffer, moments: list[Moments]
) -> None:
    """The same with one buffer: h is computed for its moments, and once more where it is used.

    That takes s of two frames to each side; the two before have been overwritten by then, so they are kept aside.
    """
    (norm1, conv1), (norm2, conv2) = block.time_stack.norms_and_convs()
    num_frames = clip.shape[0]
    hidden_moments: list[Moments] = []
    affine1 = space.make(lambda: scale_shift(norm1, moments, space.like))

    def first(tile: Tile, inputs: list[Tensor]) -> None:
        x = silu_window(affine1, inputs.pop(), tile.start == 0, tile.stop == num_frames)
        x = _convolve(conv1, x)
        hidden_moments.extend(measure(x, norm2.num_groups))

    space.sweep(clip.whole, lambda tile: [clip.read(tile.with_frames(1, 1, num_frames))], first)
    affine2 = space.make(lambda: scale_shift(norm2, hidden_moments, space.like))
    weight = space.make(lambda: block.temporal_weight(space.like))
    overwritten = space.make(lambda: space.like.new_empty(2, *clip.shape[1:]))

    def second(tile: Tile, inputs: list[Tensor]) -> None:
        ahead = inputs.pop()  # from the tile's first frame to two beyond its last
        before = overwritten[max(2 - tile.start, 0) :, :, tile.top : tile.bottom]
        x = torch.cat([before, ahead])
        own = slice(len(before), len(before) + tile.frames)
        hidden = silu_window(affine1, x, tile.start <= 1, tile.stop >= num_frames - 1)
        hidden = _convolve(conv1, hidden)
        hidden = silu_window(affine2, hidden, tile.start == 0, tile.stop == num_frames)
        update = _convolve(conv2, hidden)
        kept = x[: own.stop][-2:]
        overwritten[2 - len(kept) :, :, tile.top : tile.bottom] = kept
        spatial = ahead[: tile.frames]
        torch.addcmul(spatial, update, weight, out=spatial)
        clip.write(tile, spatial)

    space.sweep(clip.whole, lambda tile: [clip.read(tile.with_frames(0, 2, num_frames))], second)


def mix_frames(space: Workspace, decoder: Decoder, unmixed: ClipBuffer, pictures: ClipBuffer, offset: int) -> None:
    num_frames = unmixed.shape[0]
    conv = cast(nn.Module, decoder.conv_out.time_mix_conv)

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        x = zero_window(inputs.pop(), tile.start == 0, tile.stop == num_frames)
        pictures.write(tile.later(offset), _convolve(conv, x))

    space.sweep(unmixed.whole, lambda tile: [unmixed.read(tile.with_frames(1, 1, num_frames))], work)
