"""Pictures of a clip through a VAE of the host, one at a time, with progress and Cancel between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ...svd_core.pipeline.stages import encode_frames
from .folders import ProgressBar, model_management


def encode_like(vae: Any, frames: Tensor, clip: Tensor, fit: str) -> Tensor:
    """frames: k h' w' 3 in [0, 1]; clip: t 4 h w, the size wanted. Returns unscaled latents, k 4 h w."""
    size = video_size(vae, clip)
    return encode_frames(_watched(frames), lambda pixels: vae.encode(pixels.movedim(1, -1)), *size, fit)


def video_size(vae: Any, clip: Tensor) -> tuple[int, int]:
    """Width and height, in pixels, of latents t 4 h w."""
    scale = vae.spacial_compression_encode()
    return scale * clip.shape[-1], scale * clip.shape[-2]


def _watched(frames: Tensor) -> Iterator[Tensor]:
    bar = ProgressBar(len(frames))
    for frame in frames:
        model_management.throw_exception_if_processing_interrupted()
        yield frame
        bar.update(1)
