"""Latents of a clip, t 4 h w: checks before any work is done, corrections after sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SVDError, is_finite, show_number


def check_num_frames(num_frames: int) -> None:
    """Raises SVDError for a clip too short to move."""
    if num_frames < 2:
        raise SVDError(f"A video needs at least 2 frames and {num_frames} were asked for; 14 or 25 suit the models.")


def check_latents(latents: Tensor, channels: int = 4) -> None:
    """Raises SVDError unless these are frames of latents, t channels h w: other model families have other shapes."""
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise SVDError(
            f"These latents have the shape {tuple(latents.shape)} and belong to another model family; "
            f"SVD needs frames x {channels} x height x width, as VAE Encode Conditioning makes them."
        )


def check_contrast(contrast_enhance_scale: float) -> None:
    """Raises SVDError unless the scale is finite and above 0."""
    if not (is_finite(contrast_enhance_scale) and contrast_enhance_scale > 0.0):
        shown = show_number(contrast_enhance_scale)
        raise SVDError(f"contrast_enhance_scale is {shown} and must be above 0; 1 changes nothing.")


def correct_latents(latents: Tensor, post_normalize: bool = False, contrast_enhance_scale: float = 1.0) -> Tensor:
    """Even out the frames of a clip, t 4 h w, then scale the whole clip; both are off by default."""
    check_contrast(contrast_enhance_scale)
    latents = normalize_frames(latents) if post_normalize else latents
    return latents * contrast_enhance_scale if contrast_enhance_scale != 1.0 else latents


def normalize_frames(latents: Tensor) -> Tensor:
    """Give every frame the mean and deviation of the whole clip, t 4 h w, which evens out brightness and contrast.

    DiffSynth's `post_normalize`. The latents may be in any scale. A frame without any contrast keeps none.
    """
    latents = latents.float()
    mean, std = latents.mean(), latents.std()
    frame_std, frame_mean = torch.std_mean(latents, dim=(1, 2, 3), keepdim=True)
    return (latents - frame_mean) / frame_std.clamp(min=torch.finfo(frame_std.dtype).tiny) * std + mean
