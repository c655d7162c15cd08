"""The temporal decode a few frames at a time, equal to the decode of the whole clip.

Frames meet in two places only: the temporal norms, whose moments are those of the whole clip, and the temporal
convolutions, which see one neighbour on each side. So the decoder runs breadth first. At each block the clip is swept
three times, a few frames at once: the spatial half, while the moments of the first norm add up; the first convolution,
while those of the second add up; the second convolution. Everything between blocks concerns one frame alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ...errors import SVDError
from ...models.autoencoder.blocks import ResnetBlock, Upsample, VideoResnetBlock
from ...models.autoencoder.decoder import Decoder
from ...models.kernels.group_norm import Moments, measure
from ..device import is_out_of_memory
from .bands import head_in_bands, spatial_in_bands
from .clip_buffer import ClipBuffer, Tile
from .plan import DecodePlan
from .sweep import IsOutOfMemory, Workspace
from .temporal import mix_frames, temporal_half, temporal_half_recomputed
from .transfers import Loaded

Prepare = Callable[[Tensor], Tensor]


@torch.no_grad()
def decode_planned(
    decoder: Decoder,
    stem: nn.Module,
    z: Tensor,
    num_frames: int,
    plan: DecodePlan,
    device: torch.device | None = None,
    is_oom: IsOutOfMemory = is_out_of_memory,
) -> Tensor:
    """`decoder(z, num_frames)`, with no more on the device than the plan says; equal up to the order of summation.

    z: (b t) 4 h w, on any device. stem: what takes latents to the coarsest level. Returns (b t) 3 8h 8w, on `device`
    (by default that of z), or in host memory if the plan spills.

    Where memory runs out, the decode goes on from what it has with the next smaller split; `is_oom` tells from other
    errors those that say so.
    """
    if not len(z) or num_frames < 1 or len(z) % num_frames:
        raise SVDError(f"{len(z)} frames of latents are not whole clips of {num_frames}; decode one clip or several.")
    like = torch.empty(0, dtype=z.dtype, device=device or z.device)
    space = Workspace(plan, z.shape[2], like, decoder.memory_format(like), is_oom)
    scale = 2 ** (len(decoder.up) - 1)
    pictures = space.buffer(len(z), decoder.image_channels, scale * z.shape[2], scale * z.shape[3])
    decode = _decode_clip if decoder.temporal else _decode_images
    for offset in range(0, len(z), num_frames):
        clip = space.buffer(num_frames, *z.shape[1:])
        space.make(lambda clip=clip, own=z[offset : offset + num_frames]: clip.adopt(own))
        decode(space, decoder, stem, clip, pictures, offset)
    assert pictures.tensor is not None
    return pictures.tensor


def steps(decoder: Decoder, stem: Prepare) -> Iterator[tuple[Prepare, ResnetBlock]]:
    """The blocks in order, each with the frame-by-frame layers that precede it."""
    yield stem, decoder.mid.block_1
    yield decoder.mid.attn_1, decoder.mid.block_2
    prepare: Prepare = nn.Identity()
    for level in decoder.coarse_to_fine():
        for block in level.block:
            yield prepare, block  # type: ignore[misc]
            prepare = nn.Identity()
        prepare = level.upsample


def _decode_images(
    space: Workspace, decoder: Decoder, stem: Prepare, clip: ClipBuffer, pictures: ClipBuffer, offset: int
) -> None:
    """Frames have nothing to do with each other, so each goes through the whole decoder before the next."""
    scale = pictures.shape[2] // clip.shape[2]

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            _decode_image_in_bands(space, decoder, stem, clip, pictures, tile, offset)
            return
        x = inputs.pop()
        for prepare, block in steps(decoder, stem):
            x = prepare(x)
            x = block.spatial(x)
        pictures.write(tile.scaled(scale).later(offset), decoder.head(x))

    space.sweep(clip.whole, lambda tile: _whole_frames(space, clip, tile), work, whole_rows=True)


def _decode_image_in_bands(
    space: Workspace, decoder: Decoder, stem: Prepare, clip: ClipBuffer, pictures: ClipBuffer, frame: Tile, offset: int
) -> None:
    offset += frame.start
    for prepare, block in steps(decoder, stem):
        clip, _ = spatial_in_bands(space, clip, frame, prepare, block)
        frame = clip.whole
    head_in_bands(space, clip, frame, decoder, pictures, offset)


def _decode_clip(
    space: Workspace, decoder: Decoder, stem: Prepare, clip: ClipBuffer, pictures: ClipBuffer, offset: int
) -> None:
    latents = clip
    for prepare, block in steps(decoder, stem):
        assert isinstance(block, VideoResnetBlock)
        done = _whole_block(space, prepare, block, clip) if space.prefers_blocks(clip.shape[0]) else None
        if done is None:
            clip = _swept_block(space, prepare, block, clip, given=clip is latents)
        else:
            clip = done
    clip = _head(space, decoder, clip)
    mix_frames(space, decoder, clip, pictures, offset)


def _swept_block(
    space: Workspace, prepare: Prepare, block: VideoResnetBlock, clip: ClipBuffer, given: bool
) -> ClipBuffer:
    """A clip through one block, tile by tile; one that was given is left alone, another is overwritten or given up."""
    after, moments = _spatial_half(space, prepare, block, clip, in_place=not given)
    if after is not clip and not given:
        clip.release()
    if space.plan.recompute:
        temporal_half_recomputed(space, block, after, moments)
    else:
        temporal_half(space, block, after, moments)
    return after


def _whole_block(space: Workspace, prepare: Prepare, block: VideoResnetBlock, clip: ClipBuffer) -> ClipBuffer | None:
    """All of the clip through one block; None where memory ran out."""
    made: list[ClipBuffer] = []

    def work() -> None:
        x = prepare(clip.read(clip.whole).wait())
        x = block(x, len(x))
        out = space.buffer(*x.shape)
        out.write(out.whole, x)
        made.append(out)

    return made[0] if space.attempt(work, clip.shape[0]) else None


def _whole_frames(space: Workspace, clip: ClipBuffer, tile: Tile) -> list[Loaded]:
    """What a sweep over whole frames reads: with bands it reads by itself, a band at a time."""
    return [] if space.plan.bands > 1 else [clip.read(tile)]


def _spatial_half(
    space: Workspace, prepare: Prepare, block: VideoResnetBlock, clip: ClipBuffer, in_place: bool
) -> tuple[ClipBuffer, list[Moments]]:
    """Each frame by itself, into the same buffer where frames keep their shape; and the moments for the first norm."""
    groups = block.time_stack.norms_and_convs()[0][0].num_groups
    num_frames, _, height, width = clip.shape
    scale = 2 if isinstance(prepare, Upsample) else 1
    shape = (num_frames, block.norm2.num_channels, scale * height, scale * width)
    out = clip if in_place and shape == clip.shape else space.buffer(*shape)
    moments: list[Moments] = []

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            moments.extend(spatial_in_bands(space, clip, tile, prepare, block, out, groups)[1])
            return
        x = prepare(inputs.pop())
        x = block.spatial(x)
        measured = measure(x, groups)
        out.write(tile.scaled(scale), x)
        moments.extend(measured)

    space.sweep(clip.whole, lambda tile: _whole_frames(space, clip, tile), work, whole_rows=True)
    return out, moments


def _head(space: Workspace, decoder: Decoder, clip: ClipBuffer) -> ClipBuffer:
    """The last layers that see one frame at a time."""
    num_frames, _, height, width = clip.shape
    pictures = space.buffer(num_frames, decoder.image_channels, height, width)

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            head_in_bands(space, clip, tile, decoder, pictures)
            return
        pictures.write(tile, decoder.head(inputs.pop()))

    space.sweep(clip.whole, lambda tile: _whole_frames(space, clip, tile), work, whole_rows=True)
    return pictures
