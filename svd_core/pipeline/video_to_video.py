"""Video to video: a clip as the latents that sampling starts from, with noise of a level below the highest.

The lower that level (see `schedules.sigmas`), the more of the clip is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..errors import SVDError
from ..images import pictures

PictureEncoder = Callable[[Tensor], Tensor]  # 1 3 8h 8w in [0, 1] to 1 4 h w


def check_length(given: int, num_frames: int) -> None:
    """Raises SVDError for a video that ends before the clip does."""
    if given < num_frames:
        raise SVDError(
            f"The video has {given} frames and the clip {num_frames}; give a longer video or ask for fewer frames."
        )


def encode_frames(frames: Iterable[Any], encode: PictureEncoder, width: int, height: int, fit: str = "crop") -> Tensor:
    """Pictures as latents, t 4 h w, with no more than one of them in work at a time.

    frames: pictures as `image.to_image_tensor` takes them, of any sizes; fitted to width x height pixels each.
    Raises SVDError where one is no picture, or there is none.
    """
    latents = [encode(pictures.fit(pictures.to_image_tensor(frame), width, height, fit)) for frame in frames]
    if not latents:
        raise SVDError("The video has no frames; connect or pass at least one picture.")
    return torch.cat(latents)
