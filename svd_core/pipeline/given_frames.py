"""Frames that a clip is made from besides its picture: a video to start from, and pictures to hold."""

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
    hold_frames,
    resize_masks,
    resolve_frame_ids,
)
from ..errors import SVDError
from ..images.pictures import fit_masks
from .settings import ResolvedSettings, setting
from .stages import FrameEncoder, check_video_length, encode_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenFrames:
    """Frames are pictures of any size, in a list, array or tensor; they are fitted to the video as the picture is."""

    input_video: Any = setting(
        None, "frames that the clip starts from below a denoising_strength of 1", object, "video to video"
    )
    mask_frames: Any = setting((), "pictures that stay in the clip", object, "held frames")
    mask_frame_ids: Sequence[int] = setting(
        (), "the frame that each of them is; 0 is the first, -1 the last", object, "held frames"
    )
    masks: Any = setting(
        None, "h w, or a list with one for each: what of the pictures is held, from 0 to 1", object, "held frames"
    )

    def check(self, settings: ResolvedSettings) -> None:
        """Raises SVDError, before any work, for what does not fit the clip."""
        if settings.starts_from_video:
            if self.input_video is None:
                raise SVDError(
                    f"denoising_strength is {settings.denoising_strength:g} and there is no input_video to start from; "
                    "pass one, or leave the strength at 1."
                )
            check_video_length(len(self.input_video), settings.num_frames)
        elif self.input_video is not None:
            logger.warning("At denoising_strength 1 nothing of input_video is kept; use 0.3 to 0.9.")
        if not self.holds:
            return
        places = resolve_frame_ids(self.mask_frame_ids, settings.num_frames)
        if len(self.mask_frames) != len(places):
            raise SVDError(
                f"There are {len(self.mask_frames)} mask_frames for {len(places)} mask_frame_ids; "
                "give one picture for each."
            )
        if self.masks is not None:
            check_mask_count(len(read_masks(self.masks)), len(places))

    @property
    def holds(self) -> bool:
        return len(self.mask_frames) > 0 or len(self.mask_frame_ids) > 0

    def encode(self, encode: FrameEncoder, settings: ResolvedSettings) -> tuple[Tensor | None, HeldFrames | None]:
        """The latents that sampling starts from, t 4 h w, and the held frames; either may be None."""
        size = (settings.width, settings.height, settings.fit)
        start = held = None
        if settings.starts_from_video:
            start = encode_frames(islice(self.input_video, settings.num_frames), encode, *size)
        if self.holds:
            latents = encode_frames(self.mask_frames, encode, *size)
            masks = None if self.masks is None else self._scale_masks(latents, *size)
            held = hold_frames(latents, self.mask_frame_ids, settings.num_frames, masks, start)
        return start, held

    def _scale_masks(self, latents: Tensor, width: int, height: int, fit: str) -> Tensor:
        """k 1 h w."""
        fitted = [fit_masks(mask[None], width, height, fit) for mask in read_masks(self.masks)]
        return torch.cat([resize_masks(mask, 1, latents) for mask in fitted])


def read_masks(masks: Any) -> list[Tensor]:
    """One fp32 mask h w in [0, 1] for each given.

    masks: a tensor or array [b] h w of floats or booleans, or a list of masks h w of any sizes.
    Raises SVDError for other shapes and values.
    """
    if not isinstance(masks, (list, tuple)):
        masks = torch.as_tensor(masks)
        masks = [masks] if masks.ndim == 2 else list(masks)
    tensors = [torch.as_tensor(mask).float() for mask in masks]
    for mask in tensors:
        if mask.ndim != 2 or not mask.numel() or not 0.0 <= float(mask.min()) <= float(mask.max()) <= 1.0:
            raise SVDError(
                f"A mask has the shape {tuple(mask.shape)}; give height x width, or one for each held frame, "
                "of numbers from 0 (free) to 1 (held)."
            )
    return tensors
