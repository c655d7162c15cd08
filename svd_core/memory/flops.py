"""Floating-point operations of each network, counted while it runs on the "meta" device; a multiply-add is two.

Matrix products, convolutions and attention count; norms and other operations of a few per number do not.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..models.autoencoder import Autoencoder
from ..models.image_encoder import ClipVision
from ..models.layers import Layers
from .activations import KeptFeatures, UNetCall, evaluate_on_meta
from .rehearsal import count_flops

_DTYPE = torch.float16  # in fp32 a CPU may take another way, with fewer products
META = Layers(device="meta", dtype=_DTYPE)


@lru_cache(maxsize=64)
def unet_flops(config: UNetConfig, height: int, width: int, num_frames: int, outer_only: bool = False) -> int:
    """One evaluation for one guidance branch. height, width: of the latent. outer_only: with recalled deep features."""
    call = UNetCall(height, width, num_frames, _DTYPE)
    features = KeptFeatures() if outer_only else None
    whole = count_flops(lambda: evaluate_on_meta(config, call, features=features))
    return count_flops(lambda: evaluate_on_meta(config, call, features=features)) if outer_only else whole


@lru_cache(maxsize=16)
def decode_flops(config: AutoencoderConfig, height: int, width: int, num_frames: int) -> int:
    """The decode of a clip. height, width: of the latent."""
    z = torch.empty(num_frames, config.latent_channels, height, width, dtype=_DTYPE, device="meta")
    return count_flops(lambda: Autoencoder(config, META).decode(z))


@lru_cache(maxsize=16)
def encode_flops(config: AutoencoderConfig, height: int, width: int) -> int:
    """The encode of one picture. height, width: of the latent."""
    shape = 1, config.image_channels, config.downscale * height, config.downscale * width
    pixels = torch.empty(shape, dtype=_DTYPE, device="meta")
    return count_flops(lambda: Autoencoder(config, META).encode(pixels))


@lru_cache(maxsize=16)
def clip_flops(config: ClipVisionConfig) -> int:
    """One picture through the image encoder."""
    pixels = torch.empty(1, 3, config.image_size, config.image_size, dtype=_DTYPE, device="meta")
    return count_flops(lambda: ClipVision(config, META)(pixels))
