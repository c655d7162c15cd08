"""Encoder and decoder under the official names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import AutoencoderConfig
from ..layers import Layers
from .decoder import Decoder
from .encoder import Encoder
from .framewise import decode_framewise


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
        frames_at_once = min(frames_at_once, num_frames) or num_frames
        if not self.config.temporal_decoder:
            return self._decode_images(z, frames_at_once)
        if frames_at_once < num_frames:
            return decode_framewise(self.decoder, z, num_frames, frames_at_once)
        return self.decoder(z, num_frames)

    def decode_in(self, dtype: torch.dtype) -> None:
        """Convert the decoding half; the encoder keeps its precision."""
        self.decoder.to(dtype)
        if not self.config.temporal_decoder:
            self.post_quant_conv.to(dtype)

    def _decode_images(self, z: Tensor, frames_at_once: int) -> Tensor:
        return torch.cat([self.decoder(self.post_quant_conv(x), len(x)) for x in z.split(frames_at_once)])
