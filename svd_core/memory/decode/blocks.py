"""A clip through one block of the temporal decoder, a few frames at a time; equal to the block on the whole clip.

Frames meet in two places only: the temporal norms, which take the moments of the whole clip, and the temporal
convolutions, which see one neighbour on each side. So a block is three sweeps over the clip: the spatial half, while
the moments for the first norm add up; the first convolution, while those for the second add up; the second convolution.
"""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ...models.autoencoder.blocks import Upsample, VideoResnetBlock
from ...models.autoencoder.decoder import Decoder, Layer
from ...models.kernels.group_norm import Moments, ScaleShift, measure, scale_shift
from ...models.kernels.memory_format import clips_of_frames, format_of, lies_side_by_side
from .bands import head_in_bands, spatial_in_bands
from .buffers import ClipBuffer, Tile
from .sweep import Workspace


def sweep_block(
    space: Workspace, layer: Layer, block: VideoResnetBlock, clip: ClipBuffer, overwrite: bool
) -> ClipBuffer:
    """`block(layer(clip))`; `overwrite`: whether the clip is free to be overwritten or given up."""
    after, moments = _sweep_spatial_half(space, layer, block, clip, overwrite)
    if after is not clip and overwrite:
        clip.release()
    _sweep_temporal_half(space, block, after, moments)
    return after


def sweep_head(space: Workspace, decoder: Decoder, clip: ClipBuffer) -> ClipBuffer:
    """`decoder.head(clip)`, which sees one frame at a time."""
    num_frames, _, height, width = clip.shape
    pictures = space.buffer(num_frames, decoder.image_channels, height, width)

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            head_in_bands(space, clip, tile, decoder, pictures)
        else:
            pictures.write(tile, decoder.head(inputs.pop()))

    space.sweep_frames(clip, work)
    return pictures


def sweep_mix(space: Workspace, decoder: Decoder, unmixed: ClipBuffer, pictures: ClipBuffer, offset: int) -> None:
    """`decoder.mix_frames(unmixed)` into `pictures`, after `offset` other frames."""
    conv = cast(nn.Module, decoder.conv_out.time_mix_conv)

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        x = _make_window(inputs.pop(), *unmixed.ends_at(tile))
        pictures.write(tile.later(offset), _convolve(conv, x))

    space.sweep(unmixed.whole, lambda tile: [unmixed.read(tile.with_frames(1, 1, unmixed.num_frames))], work)


def _sweep_spatial_half(
    space: Workspace, layer: Layer, block: VideoResnetBlock, clip: ClipBuffer, overwrite: bool
) -> tuple[ClipBuffer, list[Moments]]:
    """s of every frame, into the same buffer if frames keep their shape; and the moments for the first norm."""
    groups = block.time_stack.norms_and_convs()[0][0].num_groups
    num_frames, _, height, width = clip.shape
    scale = 2 if isinstance(layer, Upsample) else 1
    shape = (num_frames, block.norm2.num_channels, scale * height, scale * width)
    out = clip if overwrite and shape == clip.shape else space.buffer(*shape)
    moments: list[Moments] = []

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            moments.extend(spatial_in_bands(space, clip, tile, layer, block, out, groups))
            return
        x = layer(inputs.pop())
        x = block.spatial(x)
        measured = _measure_frames(x, groups)
        out.write(tile.scaled(scale), x)
        moments.extend(measured)

    space.sweep_frames(clip, work)
    return out, moments


def _sweep_temporal_half(space: Workspace, block: VideoResnetBlock, clip: ClipBuffer, moments: list[Moments]) -> None:
    """s + α conv2(h), h = conv1(s), both of normalised frames; in place, as s is needed for its own frame alone."""
    (norm1, conv1), (norm2, conv2) = block.time_stack.norms_and_convs()
    hidden = None if space.plan.recompute else space.buffer(*clip.shape)
    hidden_moments: list[Moments] = []
    affine1 = space.make(lambda: scale_shift(norm1, moments, space.like))

    def first(tile: Tile, inputs: list[Tensor]) -> None:
        x = _make_window(inputs.pop(), *clip.ends_at(tile), affine1)
        x = _convolve(conv1, x)
        measured = _measure_frames(x, norm2.num_groups)
        if hidden is not None:
            hidden.write(tile, x)
        hidden_moments.extend(measured)

    space.sweep(clip.whole, lambda tile: [clip.read(tile.with_frames(1, 1, clip.num_frames))], first)
    affine2 = space.make(lambda: scale_shift(norm2, hidden_moments, space.like))
    alpha = space.make(lambda: block.temporal_weight(space.like))
    if hidden is None:
        _sweep_recomputing(space, (affine1, conv1), (affine2, conv2), alpha, clip)
        return

    def second(tile: Tile, inputs: list[Tensor]) -> None:
        x = _make_window(inputs.pop(), *clip.ends_at(tile), affine2)
        x = _convolve(conv2, x)
        spatial = inputs.pop()
        torch.addcmul(spatial, x, alpha, out=spatial)
        clip.write(tile, spatial)

    space.sweep(
        clip.whole, lambda tile: [clip.read(tile), hidden.read(tile.with_frames(1, 1, clip.num_frames))], second
    )
    hidden.release()


def _sweep_recomputing(
    space: Workspace,
    first: tuple[ScaleShift, nn.Module],
    second: tuple[ScaleShift, nn.Module],
    alpha: Tensor,
    clip: ClipBuffer,
) -> None:
    """The last sweep of a block that kept no h but computes it again, from s of two frames to each side.

    The two before have been overwritten already, so their s is kept aside.
    """
    (affine1, conv1), (affine2, conv2) = first, second
    overwritten = space.make(lambda: space.like.new_empty(2, *clip.shape[1:]))

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        ahead = inputs.pop()  # from the tile's first frame to two beyond its last
        before = overwritten[max(2 - tile.start, 0) :, :, tile.top : tile.bottom]
        x = torch.cat([before, ahead])
        own = slice(len(before), len(before) + tile.frames)
        h = _make_window(x, tile.start <= 1, tile.stop >= clip.num_frames - 1, affine1)
        h = _convolve(conv1, h)
        h = _make_window(h, *clip.ends_at(tile), affine2)
        update = _convolve(conv2, h)
        kept = x[: own.stop][-2:]
        overwritten[2 - len(kept) :, :, tile.top : tile.bottom] = kept
        spatial = ahead[: tile.frames]
        torch.addcmul(spatial, update, alpha, out=spatial)
        clip.write(tile, spatial)

    space.sweep(clip.whole, lambda tile: [clip.read(tile.with_frames(0, 2, clip.num_frames))], work)


def _make_window(x: Tensor, starts: bool, ends: bool, norm: ScaleShift | None = None) -> Tensor:
    """Frames, t c h w, with a frame of zeros where the clip starts or ends; elsewhere x has its neighbours already.

    `norm`, if given, and SiLU are applied on the way.
    """
    shape = (starts + len(x) + ends, *x.shape[1:])
    window = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format_of(x))
    window[: int(starts)].zero_()
    window[len(window) - ends :].zero_()
    frames = window[int(starts) : len(window) - ends]
    if norm is None:
        frames.copy_(x)
    else:
        norm.silu(x, out=frames)
    return window


def _convolve(conv: nn.Module, window: Tensor) -> Tensor:
    """Frames with a neighbour on each side, t+2 c h w, to t c h w."""
    return rearrange(conv(window.flatten(2)), "t c (h w) -> t c h w", h=window.shape[2])


def _measure_frames(x: Tensor, groups: int) -> list[Moments]:
    """Moments of the frames t c h w, which add up to those of the clip."""
    # Channels side by side: the frames are one tensor for the kernel, else a view that would have to be copied.
    return measure(clips_of_frames(x, len(x)) if lies_side_by_side(x) else x, groups)
