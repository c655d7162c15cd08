"""Configuration and training schedule of the demo checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from svd_core.config import AutoencoderConfig, ClipVisionConfig, ModelConfig, UNetConfig

SIZE = 96  # pixels, square
NUM_FRAMES = 14

UNET = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2, 3),
    num_res_blocks=1,
    attention_levels=(False, True, True),  # at 12x12 it takes most of the time and adds little
    context_dim=64,
    head_dim=32,
    norm_groups=8,
)
VAE = AutoencoderConfig(channels=16, channel_mult=(1, 2, 2, 4), num_res_blocks=1, norm_groups=8)
CLIP = ClipVisionConfig(
    width=96, num_layers=4, num_heads=6, mlp_width=192, patch_size=8, image_size=48, projection_dim=64
)
DEMO = ModelConfig(UNET, VAE, CLIP)


@dataclass(frozen=True)
class StageSettings:
    """One stage of training. The learning rate warms up, stays, and falls to zero in the last third."""

    steps: int
    batch: int
    learning_rate: float
    share: float  # of a --minutes budget
    ema_decay: float = 0.999
    weight_decay: float = 0.0
    muon: bool = False  # see muon.py


STAGES = {
    "autoencoder": StageSettings(steps=7000, batch=6, learning_rate=2e-3, share=0.25, ema_decay=0.995),
    "temporal_decoder": StageSettings(steps=6000, batch=1, learning_rate=1e-3, share=0.15, ema_decay=0.99, muon=True),
    "unet": StageSettings(steps=6000, batch=8, learning_rate=2e-3, share=0.6, muon=True),
}


@dataclass(frozen=True)
class NoiseSettings:
    """ln sigma of the training noise (Karras et al. 2022), and of the noise on the conditioning picture.

    Higher than usual: the picture decides all of the motion, so it is settled where noise hides everything else.
    """

    p_mean: float = 1.2
    p_std: float = 1.8
    augmentation_mean: float = -3.0
    augmentation_std: float = 0.5
    dropout: float = 0.1  # of the picture, for guidance
