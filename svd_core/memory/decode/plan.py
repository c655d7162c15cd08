"""The shape of a decode, and how it is split; no split changes the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...config import AutoencoderConfig
from ...errors import SVDError


@dataclass(frozen=True)
class DecodeCall:
    """A clip to be decoded, as its memory depends on it.

    height, width: of the latent. on_cpu: count a CPU's work space, too.
    """

    config: AutoencoderConfig
    height: int
    width: int
    num_frames: int
    dtype: torch.dtype
    on_cpu: bool = False

    @classmethod
    def of_shape(
        cls, config: AutoencoderConfig, shape: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> DecodeCall:
        """shape: of the latents of one clip, t 4 h w, decoded in `dtype` on `device`."""
        num_frames, _, height, width = shape
        return cls(config, height, width, num_frames, dtype, device.type == "cpu")

    def __str__(self) -> str:
        scale = self.config.downscale
        return f"{self.num_frames} frames of {scale * self.width}x{scale * self.height} pixels"


@dataclass(frozen=True)
class DecodePlan:
    """The parts of a clip that are on the device at once."""

    frames_at_once: int
    bands: int = 1  # of rows that a frame is cut into
    spill: bool = False  # latents, clip-sized buffers and finished pictures live in host memory
    recompute: bool = False  # a block's hidden frames are computed twice instead of kept

    def __post_init__(self) -> None:
        for name, value in (("frames_at_once", self.frames_at_once), ("bands", self.bands)):
            if value < 1:
                raise SVDError(f"The decode plan has {name}={value}; it needs at least 1.")

    def smaller(self, max_bands: int) -> DecodePlan | None:
        """The next plan if memory runs out all the same: fewer frames, then spill, then bands; None at the end."""
        if self.frames_at_once > 1:
            return replace(self, frames_at_once=self.frames_at_once // 2)
        if not self.spill:
            return replace(self, spill=True)
        if self.bands < max_bands:
            return replace(self, bands=min(2 * self.bands, max_bands))
        return None

    def __str__(self) -> str:
        parts = [f"{self.frames_at_once} frame{'s' * (self.frames_at_once > 1)} at once"]
        parts += [f"{self.bands} bands"] * (self.bands > 1)
        parts += ["buffers in host memory"] * self.spill
        parts += ["hidden frames recomputed"] * self.recompute
        return ", ".join(parts)
