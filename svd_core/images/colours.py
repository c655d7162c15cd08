"""Corrections of a sampled clip: its latents' contrast, and its colours."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SVDError, needing


def normalize_frames(latents: Tensor) -> Tensor:
    """Every frame with the mean and deviation of the whole clip, t 4 h w: evens out brightness and contrast.

    DiffSynth's `post_normalize`. The latents may be in any scale. A frame without any contrast keeps none.
    """
    latents = latents.float()
    mean, std = latents.mean(), latents.std()
    frame_std, frame_mean = torch.std_mean(latents, dim=(1, 2, 3), keepdim=True)
    return (latents - frame_mean) / frame_std.clamp(min=torch.finfo(frame_std.dtype).tiny) * std + mean


def check_settings(contrast_enhance_scale: float = 1.0, colour_match: float = 0.0) -> None:
    """Raises SVDError for values without meaning."""
    if not 0.0 < contrast_enhance_scale < float("inf"):
        raise SVDError(f"contrast_enhance_scale is {contrast_enhance_scale:g} and must be above 0; 1 changes nothing.")
    if not 0.0 <= colour_match <= 1.0:
        raise SVDError(f"The strength of the colour match is {colour_match:g}; use 0 (off) to 1 (in full).")


def correct_latents(latents: Tensor, post_normalize: bool = False, contrast_enhance_scale: float = 1.0) -> Tensor:
    """Latents t 4 h w, with frames evened out first and then all of them times `contrast_enhance_scale`."""
    check_settings(contrast_enhance_scale)
    latents = normalize_frames(latents) if post_normalize else latents
    return latents * contrast_enhance_scale if contrast_enhance_scale != 1.0 else latents


def match_colours(frames: Tensor, picture: Tensor, strength: float = 1.0) -> Tensor:
    """Every frame with the colours of the picture, as Reinhard et al. (2001) match them.

    Mean and deviation of each channel become the picture's, in CIE Lab: there, equal steps look equally large.

    frames: t h w 3 in [0, 1]; picture: h w 3 in [0, 1], of any size; strength: 0 leaves the frames as they are, 1
    matches in full. Returns t h w 3 in [0, 1], one frame in work at a time. Raises SVDError for another strength.
    """
    check_settings(colour_match=strength)
    if strength == 0.0:
        return frames
    target_std, target_mean = torch.std_mean(_lab(picture.to(frames.device)), dim=(0, 1), correction=0)  # 3
    return torch.stack([_matched(frame, target_mean, target_std, strength) for frame in frames])


def _matched(frame: Tensor, target_mean: Tensor, target_std: Tensor, strength: float) -> Tensor:
    """frame: h w 3."""
    lab = _lab(frame)
    std, mean = torch.std_mean(lab, dim=(0, 1), correction=0)
    gain = torch.where(std > 1e-3, target_std / std.clamp(min=1e-3), torch.ones_like(std))  # flat stays flat
    return _rgb(torch.lerp(lab, (lab - mean) * gain + target_mean, strength)).to(frame.dtype)


def _lab(rgb: Tensor) -> Tensor:
    """h w 3, sRGB in [0, 1] to L in [0, 100], a, b."""
    with needing("kornia", "Matching colours"):
        from kornia.color import rgb_to_lab
    return rgb_to_lab(rgb.float().movedim(-1, 0)).movedim(0, -1)


def _rgb(lab: Tensor) -> Tensor:
    with needing("kornia", "Matching colours"):
        from kornia.color import lab_to_rgb
    return lab_to_rgb(lab.movedim(-1, 0)).movedim(0, -1).clamp(0.0, 1.0)
