"""Embeddings of numbers and of frame indices: sinusoids, or a trained table for longer clips."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import SVDError
from .layers import Layers
from .pieces import collect, cut


def sinusoidal_embedding(x: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Embed numbers as [cos(x f), sin(x f)], cosines first, f_i = max_period^(-i / (dim/2)).

    x: [n], any number type. Returns [n, dim] in fp32: in 16 bits, motion ids above 256 and the noise level would
    already be rounded before they reach the network.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(max_period) / half * torch.arange(half, dtype=torch.float32, device=x.device))
    angles = x.float()[:, None] * frequencies[None]  # n half
    return torch.cat([angles.cos(), angles.sin()], dim=-1)  # n dim


class TrainedPositions(nn.Module):
    """Trained positions of frames, for clips longer than the released models' (ExVideo, Duan et al. 2024).

    A table takes the place of the sinusoids of frame indices, and a convolution in space and time spreads what it adds.
    """

    def __init__(self, layers: Layers, num_positions: int, channels: int) -> None:
        super().__init__()
        self.num_positions = num_positions
        self.table = layers.embedding(num_positions, channels)
        self.conv = layers.clip_conv(channels)

    def rows(self, num_frames: int, device: torch.device) -> Tensor:
        """The first rows of the table, t c. Raises SVDError for more frames than it has."""
        check_positions(num_frames, self.num_positions)
        return self.table(torch.arange(num_frames, device=device))

    def spread(self, clip: Tensor, position: Tensor, height: int, frames_at_once: int) -> Tensor:
        """The convolution of clip + position, at most `frames_at_once` frames at a time.

        clip: t (h w) c; position: t 1 c. Before the first frame and after the last, the clip mirrors.
        Returns t (h w) c.
        """

        def convolve(frames: slice) -> Tensor:
            start, stop, _ = frames.indices(len(clip))
            near = [_mirror_index(index, len(clip) - 1) for index in range(start - 1, stop + 1)]
            window = rearrange(clip[near] + position[near], "t (h w) c -> t c h w", h=height)
            return rearrange(self.conv(window), "t c h w -> t (h w) c")

        return collect(cut(len(clip), frames_at_once), convolve)


def check_positions(num_frames: int, num_positions: int) -> None:
    """Raises SVDError for a clip longer than the model has positions for; 0 positions mean any length."""
    if 0 < num_positions < num_frames:
        raise SVDError(
            f"This model was extended to {num_positions} frames and {num_frames} were asked for; make a shorter clip."
        )


def _mirror_index(index: int, last: int) -> int:
    """The frame that stands in for `index`, which may lie one beyond the ends."""
    mirrored = 2 * last - index if index > last else abs(index)
    return min(max(mirrored, 0), last)  # of a lone frame, itself
