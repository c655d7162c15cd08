"""Match a clip's colours to its picture."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SVDError, needing, show_number


def check_strength(strength: float) -> None:
    """Raises SVDError unless the strength of a colour match is 0 to 1."""
    if not 0.0 <= strength <= 1.0:
        raise SVDError(f"The strength of the colour match is {show_number(strength)}; use 0 (off) to 1 (in full).")


def match_colours(frames: Tensor, picture: Tensor, strength: float = 1.0) -> Tensor:
    """Give every frame the colours of the picture (Reinhard et al. 2001).

    Mean and deviation of each channel become the picture's, in CIE Lab, where equal steps look equally large.

    frames: t h w 3 in [0, 1]; picture: h w 3 in [0, 1], of any size; strength: 0 leaves the frames as they are, 1
    matches in full. Works on one frame at a time. Returns t h w 3 in [0, 1]. Raises SVDError for another strength.
    """
    check_strength(strength)
    if strength == 0.0:
        return frames
    target_std, target_mean = torch.std_mean(_rgb_to_lab(picture.to(frames.device)), dim=(0, 1), correction=0)  # 3
    return torch.stack([_match_frame(frame, target_mean, target_std, strength) for frame in frames])


def _match_frame(frame: Tensor, target_mean: Tensor, target_std: Tensor, strength: float) -> Tensor:
    """frame: h w 3."""
    lab = _rgb_to_lab(frame)
    std, mean = torch.std_mean(lab, dim=(0, 1), correction=0)
    gain = torch.where(std > 1e-3, target_std / std.clamp(min=1e-3), torch.ones_like(std))  # flat stays flat
    return _lab_to_rgb(torch.lerp(lab, (lab - mean) * gain + target_mean, strength)).to(frame.dtype)


def _rgb_to_lab(rgb: Tensor) -> Tensor:
    """h w 3: sRGB in [0, 1] to L in [0, 100], a, b."""
    with needing("kornia", "Matching colours"):
        from kornia.color import rgb_to_lab
    return rgb_to_lab(rgb.float().movedim(-1, 0)).movedim(0, -1)


def _lab_to_rgb(lab: Tensor) -> Tensor:
    with needing("kornia", "Matching colours"):
        from kornia.color import lab_to_rgb
    return lab_to_rgb(lab.movedim(-1, 0)).movedim(0, -1).clamp(0.0, 1.0)
