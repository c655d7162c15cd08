"""Encoder and decoder under the official names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...config import AutoencoderConfig
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

    def decode(self, z: Tensor, num_frames: int | None = None) -> Tensor:
        """z: (b t) 4 h w, unscaled. num_frames: t, by default all of z is one clip.

        All frames at once; `memory.decode` has the same in bounded memory. Returns (b t) 3 8h 8w, about [-1, 1],
        unclamped.
        """
        return self.decoder(z if self.config.temporal_decoder else self.post_quant_conv(z), num_frames or len(z))

    def convert_decoder(self, dtype: torch.dtype) -> None:
        """Convert the decoding half; the encoder keeps its precision."""
        self.decoder.to(dtype)
        if not self.config.temporal_decoder:
            self.post_quant_conv.to(dtype)

    @contextmanager
    def decoding_in(self, dtype: torch.dtype) -> Iterator[None]:
        """Convert the decoding half for a while; whatever happens inside, it has its own precision afterwards."""
        own = self.decoder.norm_out.weight.dtype
        try:
            self.convert_decoder(dtype)
            yield
        finally:
            self.convert_decoder(own)
