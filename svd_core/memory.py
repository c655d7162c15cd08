"""How many frames a decode may hold at once, from the memory that is free."""

from __future__ import annotations

import os

import torch

from .config import AutoencoderConfig

# Share of the free memory that a stage may count on; allocators fragment, and other programs move.
USABLE = 0.8


def free_memory(device: torch.device) -> int | None:
    """Bytes free on a device, None where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def decode_frame_bytes(config: AutoencoderConfig, height: int, width: int, dtype: torch.dtype) -> int:
    """Activations of one frame at the widest place of the decoder, where twice `channels` reach full size.

    height, width: of the latent. Four tensors of that size live at once: a block's input, its normalised copy, the
    convolution's output and its work space.
    """
    pixels = height * width * config.downscale**2
    return 4 * 2 * config.channels * pixels * dtype.itemsize


def decode_clip_bytes(config: AutoencoderConfig, height: int, width: int, num_frames: int, dtype: torch.dtype) -> int:
    """The clip-sized buffers of a decode a few frames at a time: a block's input, and its two halves."""
    pixels = height * width * config.downscale**2
    return 3 * config.channels * pixels * num_frames * dtype.itemsize


def frames_that_fit(
    config: AutoencoderConfig, height: int, width: int, num_frames: int, dtype: torch.dtype, free: int | None
) -> int:
    """Frames to decode at once, 1 to num_frames; the whole clip where the device does not tell what is free.

    The number changes the memory and not the result, so an estimate is enough.
    """
    if free is None or not config.temporal_decoder:
        return num_frames if config.temporal_decoder else 1
    per_frame = decode_frame_bytes(config, height, width, dtype)
    usable = USABLE * free
    if num_frames * per_frame <= usable:
        return num_frames
    left = usable - decode_clip_bytes(config, height, width, num_frames, dtype)
    return int(min(max(left // per_frame, 1), num_frames))
