"""Held frames: given pictures, or parts of them, kept in any frames of a clip while the rest is sampled.

In held places the model sees the picture's latent z with the run's initial noise, z + σ·ε, as in a run that leads to z.
Its prediction of x0 is replaced by z there, so that every sampler ends at z itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SVDError
from .samplers import Denoiser


@dataclass(frozen=True)
class HeldFrames:
    """The latents to hold, and where."""

    latents: Tensor  # t 4 h w; read where the mask is above 0
    mask: Tensor  # t 1 h w, 0 free .. 1 held

    def denoiser(self, denoise: Denoiser, noise: Tensor) -> Denoiser:
        """Wrap `denoise` so that it holds. noise: t 4 h w, the noise that the run starts from, standard normal."""

        def hold(x: Tensor, sigma: Tensor) -> Tensor:
            mask, z, eps = (each.to(x) for each in (self.mask, self.latents, noise))
            x = torch.lerp(x, z + sigma * eps, mask)
            return torch.lerp(denoise(x, sigma), z, mask)

        return hold


def hold_frames(
    latents: Tensor,
    frame_ids: Sequence[int],
    num_frames: int,
    masks: Tensor | None = None,
    clip: Tensor | None = None,
) -> HeldFrames:
    """Put pictures at their places in a clip.

    latents: k 4 h w, the pictures. frame_ids: k frame indices from 0; negative ones count from the end.
    masks: 1 or k regions to hold, b h' w' in [0, 1] with the clip's aspect at any size, 1 held; by default all of each
    picture. clip: t 4 h w, the latents that sampling starts from elsewhere. Raises SVDError if these do not fit.
    """
    places = resolve_frame_ids(frame_ids, num_frames)
    if len(latents) != len(places):
        raise SVDError(
            f"There are {len(latents)} pictures for {len(places)} held frames; give one picture for each frame id."
        )
    held = latents.new_zeros(num_frames, *latents.shape[1:])
    mask = latents.new_zeros(num_frames, 1, *latents.shape[2:])
    held[places] = latents
    mask[places] = 1.0 if masks is None else resize_masks(masks, len(places), latents)
    return HeldFrames(held if clip is None else torch.where(mask > 0, held, clip.to(held)), mask)


def resolve_frame_ids(frame_ids: Sequence[int], num_frames: int) -> list[int]:
    """Turn frame ids into indices from 0. Raises SVDError for no id, one out of range, or one given twice."""
    if not frame_ids:
        raise SVDError("No held frames are named; give frame ids such as 0 and -1, the first and the last frame.")
    places = [index + num_frames if index < 0 else index for index in frame_ids]
    for index, place in zip(frame_ids, places, strict=True):
        if not 0 <= place < num_frames:
            raise SVDError(
                f"There is no frame {index} in a clip of {num_frames} frames; "
                f"use 0 to {num_frames - 1}, or -1 to -{num_frames} from its end."
            )
    place, count = Counter(places).most_common(1)[0]
    if count > 1:
        raise SVDError(f"Frame {place} is to be held {count} times; name each frame once.")
    return places


def parse_frame_ids(text: str, num_frames: int) -> list[int]:
    """Read frame ids as people write them: "0, -1" or "all". Raises SVDError for anything else."""
    if text.strip().lower() == "all":
        return list(range(num_frames))
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise SVDError(f'The frame ids are {text!r}; write numbers such as "0, -1", or "all".') from None


def resize_masks(masks: Tensor, count: int, like: Tensor) -> Tensor:
    """Resize masks to latents, n 1 h w: the share of each latent cell that is masked.

    masks: b h w or b 1 h w in [0, 1], one for all frames or one for each of `count`; another number raises SVDError.
    """
    masks = masks.reshape(-1, 1, *masks.shape[-2:]).to(like)
    check_mask_count(len(masks), count)
    if masks.shape[-2:] == like.shape[-2:]:
        return masks.clamp(0.0, 1.0)
    return F.interpolate(masks, size=like.shape[-2:], mode="area").clamp(0.0, 1.0)


def check_mask_count(masks: int, held: int) -> None:
    """Raises SVDError unless there is one mask for all held frames, or one for each."""
    if masks not in (1, held):
        raise SVDError(f"There are {masks} masks for {held} held frames; give one for all, or one for each.")
