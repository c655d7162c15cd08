"""Classifier-free guidance (Ho & Salimans 2022) with one scale per frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import SVDError, choose, is_finite, show_number

GUIDANCE_KINDS = ("linear", "triangle", "constant")


def guidance_scale(kind: str, min_scale: float, max_scale: float, num_frames: int) -> Tensor:
    """The guidance scale of every frame, [num_frames] fp32.

    "linear" rises from min_scale at the first frame to max_scale at the last (Stable Video Diffusion), "triangle" from
    min_scale at both ends to max_scale in the middle (SV3D, for orbits), "constant" is max_scale throughout and
    ignores min_scale. A single frame counts as the first: min_scale, unless constant. Raises SVDError for an unknown
    kind, a scale that is not finite, or fewer than one frame.
    """
    if num_frames < 1:
        raise SVDError(f"A clip needs at least 1 frame and got {num_frames}; raise the number of frames.")
    if not (is_finite(min_scale) and is_finite(max_scale)):
        scales = f"{show_number(min_scale)} and {show_number(max_scale)}"
        raise SVDError(f"The guidance scales {scales} must be finite numbers; usual ones are 1 to 3.")
    if choose("guidance", kind, GUIDANCE_KINDS) == "linear":
        return torch.linspace(min_scale, max_scale, num_frames)
    if kind == "triangle":
        v = torch.linspace(0.0, 1.0, num_frames)
        return min_scale + (max_scale - min_scale) * 2.0 * (v - (v + 0.5).floor()).abs()
    return torch.full((num_frames,), float(max_scale))


def needs_uncond(scale: Tensor) -> bool:
    """True if the unconditional branch is needed: with a scale of exactly 1 for every frame the result is `cond`."""
    return bool((scale != 1.0).any())


def guide(uncond: Tensor, cond: Tensor, scale: Tensor) -> Tensor:
    """uncond + scale · (cond - uncond), frame by frame, in fp32.

    uncond, cond: (b t) ..., v or x0 alike (both give the same picture); scale: t. Raises SVDError if the leading
    axis does not hold whole clips of t frames.
    """
    frames = len(scale)
    if cond.shape != uncond.shape or frames == 0 or cond.shape[0] % frames:
        raise SVDError(
            f"Guidance has {frames} frame scales for predictions of shapes {tuple(uncond.shape)} and "
            f"{tuple(cond.shape)}; make the first axis of both a multiple of the number of frames."
        )
    per_frame = scale.to(device=cond.device, dtype=torch.float32).repeat(cond.shape[0] // frames)  # (b t)
    per_frame = per_frame.reshape(-1, *[1] * (cond.ndim - 1))
    return uncond.float() + per_frame * (cond.float() - uncond.float())
