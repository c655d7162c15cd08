"""Names and shapes of the networks' parameters, read off the modules without giving them memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn

from ..config import AutoencoderConfig, ClipVisionConfig, UNetConfig
from ..models.autoencoder import Autoencoder
from ..models.image_encoder import ClipVision
from ..models.layers import Layers
from ..models.unet.unet import VideoUNet

Shape = tuple[int, ...]

# Where the official single files keep the parts.
UNET_PREFIX = "model.diffusion_model."
FIRST_STAGE_PREFIX = "first_stage_model."
ENCODER_PREFIX = "conditioner.embedders.3.encoder."  # a complete image autoencoder; its encoder is the one to use
OPEN_CLIP_PREFIX = "conditioner.embedders.0.open_clip.model."
CLIP_PREFIX = OPEN_CLIP_PREFIX + "visual."


def unet_shapes(config: UNetConfig) -> dict[str, Shape]:
    """The UNet's parameters (official names, after `model.diffusion_model.`)."""
    return dict(_read_shapes(VideoUNet, config))


def vae_shapes(config: AutoencoderConfig) -> dict[str, Shape]:
    """The autoencoder's parameters. The encoder yields the moments directly, so there is no quant_conv."""
    return dict(_read_shapes(Autoencoder, config))


def clip_shapes(config: ClipVisionConfig) -> dict[str, Shape]:
    """The image encoder's parameters (transformers names)."""
    return dict(_read_shapes(ClipVision, config))


@lru_cache(maxsize=16)
def _read_shapes(network: Callable[[Any, Layers], nn.Module], config: Any) -> dict[str, Shape]:
    """Never handed out itself: it is cached."""
    module = network(config, Layers(device="meta"))
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
