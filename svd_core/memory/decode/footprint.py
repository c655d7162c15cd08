"""What a decode or an encode needs, in bytes, from shapes alone.

Follows the code block by block: at each place that may be the fullest, it adds up the tensors alive there. Units are
numbers (elements) until the end; weights are not counted, and neither is the work space that a library takes inside a
convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...config import AutoencoderConfig
from .accounts import Account, block_size
from .decoder_shapes import Frame, decoder_steps
from .plan import DecodeCall, DecodePlan


@dataclass(frozen=True)
class Footprint:
    """Peak bytes, beside the weights."""

    device: int
    host: int


def encode_bytes(
    config: AutoencoderConfig, height: int, width: int, dtype: torch.dtype = torch.float32, pictures: int = 1
) -> int:
    """Peak of `Autoencoder.encode`, beside the weights and the pictures given. height, width: of the latent."""
    scale = config.downscale
    frame = Frame(config.channels, scale * height, scale * width)
    peak = frame.size
    for level, channels in enumerate(config.widths):
        for _ in range(config.num_res_blocks):
            y = Frame(channels, frame.height, frame.width)
            peak = max(peak, frame.size + block_size(frame.size, y.size))
            frame = y
        if level < len(config.widths) - 1:
            padded = Frame(channels, frame.height + 1, frame.width + 1)
            halved = Frame(channels, frame.height // 2, frame.width // 2)
            peak = max(peak, frame.size + padded.size + halved.size)
            frame = halved
    middle = 7 * frame.size  # its input, and the attention: x, h, q, k, v, and one more on its way
    return max(peak, middle) * pictures * dtype.itemsize


def decode_footprint(call: DecodeCall, plan: DecodePlan) -> Footprint:
    """Peak of `decode_clip`, its latents given."""
    config, num_frames = call.config, call.num_frames
    measured = 2 * max(torch.float32.itemsize // call.dtype.itemsize, 1)
    account = Account(num_frames, plan, measured)
    steps = list(decoder_steps(config, call.height, call.width))
    pictures = Frame(config.image_channels, steps[-1].y.height, steps[-1].y.width)
    places = list(account.clip(steps, pictures) if config.temporal_decoder else account.images(steps, pictures))
    if plan.spill:
        device, host = max(p.working for p in places), max(p.buffers for p in places)
    else:
        device, host = max(p.working + p.buffers for p in places), 0
    return Footprint(device * call.dtype.itemsize, host * call.dtype.itemsize)
