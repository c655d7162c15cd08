"""ComfyUI's names for the configuration of an autoencoder, to build its classes with."""

from __future__ import annotations

from typing import Any

from svd_core.config import AutoencoderConfig


def vae_arguments(config: AutoencoderConfig) -> dict[str, Any]:
    """`resolution` and `attn_resolutions` only say: no more attention."""
    return {
        "ch": config.channels,
        "ch_mult": config.channel_mult,
        "num_res_blocks": config.num_res_blocks,
        "in_channels": config.image_channels,
        "out_ch": config.image_channels,
        "z_channels": config.latent_channels,
        "double_z": True,
        "resolution": 256,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
