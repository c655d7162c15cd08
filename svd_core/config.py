"""Every hyper-parameter of the three networks, as data, and the names of the types their weights may have.

The defaults are the released models: one architecture serves `svd`, `svd_xt` and `svd_xt_1_1` (the number of
frames is a run-time choice; no parameter depends on it).
"""

from __future__ import annotations

from dataclasses import dataclass, field

# What users choose from, and torch's names; torch is not imported here.
DTYPE_NAMES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
WEIGHT_DTYPE_NAMES = {**DTYPE_NAMES, "fp8_e4m3fn": "float8_e4m3fn"}


@dataclass(frozen=True)
class UNetConfig:
    """Stability's `VideoUNet`. Attributes that tensor shapes cannot show: `head_dim`, `norm_groups`, the eps values."""

    in_channels: int = 8  # 4 noisy channels, then 4 channels of the conditioning latent
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2  # per level going down; one more per level going up
    attention_levels: tuple[bool, ...] = (True, True, True, False)  # the middle block always attends
    transformer_depth: int = 1
    context_dim: int = 1024
    adm_in_channels: int = 768  # three 256-wide sinusoids: fps id, motion bucket, noise augmentation
    head_dim: int = 64
    norm_groups: int = 32
    resnet_eps: float = 1e-5
    transformer_eps: float = 1e-6
    max_period: int = 10000
    # Rows of a trained table of frame positions (ExVideo); 0 means sinusoids, for clips of any length.
    num_positions: int = 0

    @property
    def time_embed_dim(self) -> int:
        return 4 * self.model_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.model_channels * mult for mult in self.channel_mult)

    @property
    def size_multiple(self) -> int:
        """Latent heights and widths must be multiples of this to halve evenly at every level."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class AutoencoderConfig:
    """The f8 autoencoder: image encoder, and either the temporal or the plain image decoder."""

    image_channels: int = 3
    latent_channels: int = 4
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2  # per level of the encoder; one more per level of the decoder
    temporal_decoder: bool = True
    norm_groups: int = 32
    spatial_eps: float = 1e-6
    temporal_eps: float = 1e-5
    scale_factor: float = 0.18215  # diffusion space = latent * scale_factor; the conditioning latent stays unscaled

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.channels * mult for mult in self.channel_mult)

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, in each direction."""
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class ClipVisionConfig:
    """The image encoder: CLIP's ViT (OpenCLIP ViT-H/14 in the released files)."""

    width: int = 1280
    num_layers: int = 32
    num_heads: int = 16
    mlp_width: int = 5120
    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 1024
    norm_eps: float = 1e-5


@dataclass(frozen=True)
class ModelConfig:
    """The networks of one checkpoint; None for a part that the file lacks."""

    unet: UNetConfig | None = field(default_factory=UNetConfig)
    vae: AutoencoderConfig | None = field(default_factory=AutoencoderConfig)
    clip: ClipVisionConfig | None = field(default_factory=ClipVisionConfig)

    @property
    def pixel_multiple(self) -> int:
        """Picture widths and heights must be multiples of this: 64 for the released models."""
        unet = self.unet.size_multiple if self.unet else 1
        return unet * (self.vae.downscale if self.vae else 8)
