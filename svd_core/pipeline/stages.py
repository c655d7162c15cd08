"""Stages of a clip that the pipeline and the nodes share: what comes before a picture is encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..config import AutoencoderConfig
from ..diffusion import conditioning, noise
from ..errors import SVDError
from ..images import pictures
from .settings import ResolvedSettings

FrameEncoder = Callable[[Tensor], Tensor]  # 1 3 8h 8w in [0, 1] to 1 4 h w


def latent_shape(settings: ResolvedSettings, config: AutoencoderConfig) -> tuple[int, int, int, int]:
    """Shape of a clip's latents, t 4 h w."""
    height, width = settings.height // config.downscale, settings.width // config.downscale
    return settings.num_frames, config.latent_channels, height, width


def augment_picture(pixels: Tensor, strength: float, seed: int = 0, augmentation_noise: Tensor | None = None) -> Tensor:
    """The picture with augmentation noise, as the autoencoder encodes it.

    pixels: 1 3 H W in [0, 1]. strength: standard deviation of the noise, at least 0. augmentation_noise: 1 3 H W, in
    place of the noise of the seed. Returns 1 3 H W in [-1, 1], not clamped. Raises SVDError for another shape of noise.
    """
    if augmentation_noise is None:
        augmentation_noise = noise.draw_noise(pixels.shape, seed, noise.Stream.AUGMENTATION)
    return conditioning.augment(2.0 * pixels - 1.0, strength, augmentation_noise)


def encode_frames(frames: Iterable[Any], encode: FrameEncoder, width: int, height: int, fit: str = "crop") -> Tensor:
    """Encode pictures one at a time, so that memory holds no more than one. Returns t 4 h w.

    frames: pictures as `pictures.to_image_tensor` takes them, of any sizes; each is fitted to width x height pixels.
    Raises SVDError for a frame that is not a picture, and for no frames.
    """
    latents = [encode(pictures.fit(pictures.to_image_tensor(frame), width, height, fit)) for frame in frames]
    if not latents:
        raise SVDError("The video has no frames; connect or pass at least one picture.")
    return torch.cat(latents)


def check_video_length(frames: int, num_frames: int) -> None:
    """Raises SVDError for a video shorter than the clip."""
    if frames < num_frames:
        raise SVDError(
            f"The video has {frames} frames and the clip {num_frames}; give a longer video or ask for fewer frames."
        )
