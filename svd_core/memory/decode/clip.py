"""The decode of a clip in bounded memory; no bound changes the pictures."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ...errors import SVDError
from ...models.autoencoder import Autoencoder
from ...models.autoencoder.blocks import VideoResnetBlock
from ..device import is_out_of_memory
from .bands import decode_image_in_bands
from .blocks import sweep_block, sweep_head, sweep_mix
from .buffers import ClipBuffer, Tile
from .plan import DecodePlan
from .sweep import IsOutOfMemory, Workspace


@torch.no_grad()
def decode_clip(
    vae: Autoencoder,
    z: Tensor,
    plan: DecodePlan,
    *,
    num_frames: int | None = None,
    device: torch.device | None = None,
    is_oom: IsOutOfMemory = is_out_of_memory,
) -> Tensor:
    """`vae.decode(z, num_frames)` with no more on the device than the plan says; equal up to the order of summation.

    z: (b t) 4 h w, unscaled, on any device. num_frames: t, by default all of z is one clip. device: of the computation,
    by default that of z. Returns (b t) 3 8h 8w, about [-1, 1], unclamped, without gradients; on `device`, or in host
    memory if the plan spills. If memory runs out (`is_oom` says whether an exception means that), the decode goes on
    from what it has with the next smaller plan.
    """
    num_frames = len(z) if num_frames is None else num_frames
    if not len(z) or num_frames < 1 or len(z) % num_frames:
        raise SVDError(f"{len(z)} frames of latents are not whole clips of {num_frames}; decode one clip or several.")
    like = torch.empty(0, dtype=z.dtype, device=device or z.device)
    return decode_in(Workspace(plan, z.shape[2], like, vae.decoder.memory_format(like), is_oom), vae, z, num_frames)


def decode_in(space: Workspace, vae: Autoencoder, z: Tensor, num_frames: int) -> Tensor:
    """`decode_clip` in a workspace that follows the plan."""
    scale = vae.config.downscale
    pictures = space.buffer(len(z), vae.config.image_channels, scale * z.shape[2], scale * z.shape[3])
    decode = _decode_together if vae.config.temporal_decoder else _decode_apart
    for offset in range(0, len(z), num_frames):
        clip = space.buffer(num_frames, *z.shape[1:])
        space.make(lambda clip=clip, own=z[offset : offset + num_frames]: clip.adopt(own))
        decode(space, vae, clip, pictures, offset)
    assert pictures.tensor is not None
    return pictures.tensor


def _decode_together(
    space: Workspace, vae: Autoencoder, latents: ClipBuffer, pictures: ClipBuffer, offset: int
) -> None:
    """The temporal decoder, breadth first: all frames go through a block before the next block starts."""
    clip = latents
    for layer, block in vae.decoder.steps():
        # The latents may be the caller's own tensor.
        clip = sweep_block(space, layer, cast(VideoResnetBlock, block), clip, overwrite=clip is not latents)
    clip = sweep_head(space, vae.decoder, clip)
    sweep_mix(space, vae.decoder, clip, pictures, offset)


def _decode_apart(space: Workspace, vae: Autoencoder, clip: ClipBuffer, pictures: ClipBuffer, offset: int) -> None:
    """The image decoder: frames do not mix, so each goes through the whole decoder before the next."""
    (first, block), *others = vae.decoder.steps()
    steps = [(nn.Sequential(vae.post_quant_conv, cast(nn.Module, first)), block), *others]

    def work(tile: Tile, inputs: list[Tensor]) -> None:
        if space.plan.bands > 1:
            decode_image_in_bands(space, vae.decoder, steps, clip, tile, pictures, offset)
            return
        x = inputs.pop()
        for layer, block in steps:
            x = layer(x)
            x = block.spatial(x)
        pictures.write(tile.scaled(vae.config.downscale).later(offset), vae.decoder.head(x))

    space.sweep_frames(clip, work)
