"""The frames a clip is made from besides its picture: a video to start from, and pictures to hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..diffusion.held_frames import (
    HeldFrames,
    check_mask_count,
    fit_masks,
    hold_frames,
    latent_masks,
    resolve_frame_ids,
)
from ..errors import SVDError
from .stages import FrameEncoder, check_video_length, encode_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenFrames:
    """As the pipeline's arguments of the same names. Frames are pictures of any size, in a list, array or tensor."""

    input_video: Any = None
    denoising_strength: float = 1.0
    mask_frames: Any = ()
    mask_frame_ids: Sequence[int] = ()
    masks: Any = None

    def check(self, num_frames: int) -> None:
        """Raises SVDError, before any work, for what does not fit a clip of that many frames."""
        if self.starts_from_video:
            if self.input_video is None:
                raise SVDError(
                    f"denoising_strength is {self.denoising_strength:g} and there is no input_video to start from; "
                    "pass one, or leave the strength at 1."
                )
            check_video_length(len(self.input_video), num_frames)
        elif self.input_video is not None:
            logger.warning("At denoising_strength 1 nothing of input_video is kept; use 0.3 to 0.9.")
        if not self.holds:
            return
        places = resolve_frame_ids(self.mask_frame_ids, num_frames)
        if len(self.mask_frames) != len(places):
            raise SVDError(
                f"There are {len(self.mask_frames)} mask_frames for {len(places)} mask_frame_ids; "
                "give one picture for each."
            )
        if self.masks is not None:
            check_mask_count(len(as_masks(self.masks)), len(places))

    @property
    def starts_from_video(self) -> bool:
        return self.denoising_strength < 1.0

    @property
    def holds(self) -> bool:
        return len(self.mask_frames) > 0 or len(self.mask_frame_ids) > 0

    def encode(
        self, encode: FrameEncoder, num_frames: int, width: int, height: int, fit: str
    ) -> tuple[Tensor | None, HeldFrames | None]:
        """The latents that sampling starts from, t 4 h w, and the held frames; None for what there is not."""
        start = held = None
        if self.starts_from_video:
            start = encode_frames(islice(self.input_video, num_frames), encode, width, height, fit)
        if self.holds:
            latents = encode_frames(self.mask_frames, encode, width, height, fit)
            masks = None if self.masks is None else self._latent_masks(latents, width, height, fit)
            held = hold_frames(latents, self.mask_frame_ids, num_frames, masks, start)
        return start, held

    def _latent_masks(self, latents: Tensor, width: int, height: int, fit: str) -> Tensor:
        """k 1 h w."""
        fitted = [fit_masks(mask[None], width, height, fit) for mask in as_masks(self.masks)]
        return torch.cat([latent_masks(mask, 1, latents) for mask in fitted])


def as_masks(masks: Any) -> list[Tensor]:
    """Each h w fp32 in [0, 1]: of a tensor or array [b] h w of floats or booleans, or of a list of h w of any sizes.

    Raises SVDError for other shapes and values.
    """
    if not isinstance(masks, (list, tuple)):
        masks = torch.as_tensor(masks)
        masks = [masks] if masks.ndim == 2 else list(masks)
    tensors = [torch.as_tensor(mask).float() for mask in masks]
    for mask in tensors:
        if mask.ndim != 2 or not mask.numel() or not 0.0 <= float(mask.min()) <= float(mask.max()) <= 1.0:
            raise SVDError(
                f"A mask has the shape {tuple(mask.shape)}; give height x width, or one such for each held frame, "
                "of numbers from 0 (free) to 1 (held)."
            )
    return tensors
