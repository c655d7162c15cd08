"""Encoder and decoder under the official names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...config import AutoencoderConfig
from ...memory.decode.framewise import decode_planned
from ...memory.decode.plan import DecodePlan
from ...memory.decode.sweep import IsOutOfMemory
from ...memory.device import is_out_of_memory
from ..layers import Layers
from .decoder import Decoder
from .encoder import Encoder


class Autoencoder(nn.Module):
    """Pictures in [-1, 1] to unscaled latents and back.

    A `quant_conv` of the file is folded into the encoder's last convolution on load, so the encoder gives the moments
    directly. Latents here are unscaled: divide those of the diffusion by `config.scale_factor` first.
    """

    def __init__(self, config: AutoencoderConfig, layers: Layers | None = None) -> None:
        super().__init__()
        layers = layers or Layers()
        self.config = config
        self.encoder = Encoder(layers, config)
        self.decoder = Decoder(layers, config)
        if not config.temporal_decoder:
            self.post_quant_conv = layers.conv(config.latent_channels, config.latent_channels, kernel=1)

    def encode(self, pixels: Tensor) -> Tensor:
        """The posterior's mode. pixels: b 3 8h 8w in [-1, 1]. Returns b 4 h w, unscaled."""
        return self.encoder(pixels)[:, : self.config.latent_channels]

    def decode(self, z: Tensor, num_frames: int | None = None, frames_at_once: int = 0) -> Tensor:
        """z: (b t) 4 h w, unscaled. num_frames: t, by default all of z is one clip.

        frames_at_once bounds the memory and never changes the result; 0 decodes the clip in one go.
        Returns (b t) 3 8h 8w, about [-1, 1], unclamped.
        """
        num_frames = num_frames or len(z)
        if 0 < frames_at_once < num_frames:
            return self.decode_planned(z, DecodePlan(frames_at_once), num_frames)
        return self.decoder(z if self.config.temporal_decoder else self.post_quant_conv(z), num_frames)

    def decode_planned(
        self,
        z: Tensor,
        plan: DecodePlan,
        num_frames: int | None = None,
        device: torch.device | None = None,
        is_oom: IsOutOfMemory = is_out_of_memory,
    ) -> Tensor:
        """The same pictures with no more on the device than the plan says; no gradients.

        z may be on any device, `device` is that of the computation, by default that of z. A plan that spills gives the
        pictures in host memory. Where memory runs out (`is_oom` tells by the exception), the decode goes on from what
        it has with the next smaller split.
        """
        stem = self.decoder.conv_in
        if not self.config.temporal_decoder:
            stem = nn.Sequential(self.post_quant_conv, stem)
        return decode_planned(self.decoder, stem, z, num_frames or len(z), plan, device, is_oom)

    def decode_in(self, dtype: torch.dtype) -> None:
        """Convert the decoding half; the encoder keeps its precision."""
        self.decoder.to(dtype)
        if not self.config.temporal_decoder:
            self.post_quant_conv.to(dtype)
