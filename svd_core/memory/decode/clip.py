"""The decode of a clip in bounded memory; no bound changes the pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ...models.autoencoder import Autoencoder
from ..device import free_memory, is_out_of_memory, room_to_spill
from .framewise import decode_planned
from .plan import DecodeCall, DecodePlan
from .planner import describe_decode, plan_decode
from .sweep import IsOutOfMemory

logger = logging.getLogger(__name__)


def decode_in_free_memory(
    vae: Autoencoder,
    z: Tensor,
    dtype: torch.dtype,
    frames_at_once: int = 0,
    *,
    device: torch.device,
    in_dtype: Callable[[torch.dtype], AbstractContextManager[None]] = nullcontext,
    free_memory: Callable[[torch.device], int | None] = free_memory,
    is_oom: IsOutOfMemory = is_out_of_memory,
) -> Tensor:
    """Decode one clip in `dtype`, planned by the free memory; once more in fp32, and say so, if 16 bits overflow.

    z: t 4 h w, unscaled, on any device. frames_at_once: the most frames at once; 0 chooses. in_dtype: converts the
    weights for the second decode, unless the layers cast them. Returns t 3 8h 8w, about [-1, 1], unclamped, on `device`
    or in host memory.
    """

    def decode(dtype: torch.dtype) -> Tensor:
        call = DecodeCall.of_latents(vae.config, z, dtype)
        free = free_memory(device)
        plan = plan_decode(call, free, room_to_spill(device), frames_at_once)
        logger.info(describe_decode(call, plan, free))
        return decode_clip(vae, z.to(dtype), plan, device=device, is_oom=is_oom)

    frames = decode(dtype)
    if dtype == torch.float32 or frames.isfinite().all():
        return frames
    logger.warning("The decode in %s gave values that are not finite; decoding again in fp32.", dtype)
    del frames
    with in_dtype(torch.float32):
        return decode(torch.float32)


def decode_clip(
    vae: Autoencoder,
    z: Tensor,
    plan: DecodePlan,
    *,
    num_frames: int | None = None,
    device: torch.device | None = None,
    is_oom: IsOutOfMemory = is_out_of_memory,
) -> Tensor:
    """`vae.decode(z, num_frames)` with no more on the device than the plan says; no gradients.

    z: (b t) 4 h w, unscaled, on any device. num_frames: t, by default all of z is one clip. device: of the computation,
    by default that of z. Returns (b t) 3 8h 8w, about [-1, 1], unclamped, on `device`, or in host memory if the plan
    spills. If memory runs out (`is_oom` says whether an exception means that), the decode goes on from what it has with
    the next smaller plan.
    """
    stem = vae.decoder.conv_in
    if not vae.config.temporal_decoder:
        stem = nn.Sequential(vae.post_quant_conv, stem)
    return decode_planned(vae.decoder, stem, z, len(z) if num_frames is None else num_frames, plan, device, is_oom)
