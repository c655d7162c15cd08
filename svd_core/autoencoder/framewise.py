"""The temporal decode a few frames at a time, equal to the decode of the whole clip.

Frames meet in two places only: the temporal norms, whose moments are those of the whole clip, and the temporal
convolutions, which see one neighbour on each side. So the decoder runs breadth first. At each block the clip is swept
three times, a few frames at once: the spatial half, while the moments of the first norm add up; the first convolution,
while those of the second add up; the second convolution. Everything between blocks concerns one frame alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .blocks import VideoResnetBlock
from .decoder import Decoder


def decode_framewise(decoder: Decoder, z: Tensor, num_frames: int, frames_at_once: int) -> Tensor:
    """`decoder(z, num_frames)` with activations of `frames_at_once` frames, beside two clip-sized buffers.

    z: (b t) 4 h w. Returns (b t) 3 8h 8w, equal up to the order of summation.
    """
    clips = rearrange(z, "(b t) c h w -> b t c h w", t=num_frames)
    return torch.cat([_decode_clip(decoder, clip, frames_at_once) for clip in clips])


def _decode_clip(decoder: Decoder, z: Tensor, frames_at_once: int) -> Tensor:
    clip = z  # t c h w
    for prepare, block in _steps(decoder):
        clip = _run_block(prepare, block, clip, frames_at_once)
    pictures = torch.cat([decoder.head(x) for x in clip.split(frames_at_once)])
    return decoder.mix_frames(pictures, len(pictures))


def _steps(decoder: Decoder) -> Iterator[tuple[Callable[[Tensor], Tensor], VideoResnetBlock]]:
    """The blocks in order, each with the frame-by-frame layers that precede it."""
    prepare: Callable[[Tensor], Tensor] = decoder.conv_in
    yield prepare, decoder.mid.block_1  # type: ignore[misc]
    yield decoder.mid.attn_1, decoder.mid.block_2  # type: ignore[misc]
    prepare = nn.Identity()
    for level in decoder.coarse_to_fine():
        for block in level.block:
            yield prepare, block  # type: ignore[misc]
            prepare = nn.Identity()
        prepare = level.upsample


def _run_block(
    prepare: Callable[[Tensor], Tensor], block: VideoResnetBlock, clip: Tensor, frames_at_once: int
) -> Tensor:
    """One block over a clip, t c h w."""
    (norm1, conv1), (norm2, conv2) = block.time_stack.norms_and_convs()

    spatial = _Frames(len(clip))
    for x in clip.split(frames_at_once):
        spatial.append(block.spatial(prepare(x)), norm1.num_groups)
    del clip

    hidden = _Frames(len(spatial.frames))
    normalise = spatial.norm(norm1)
    for window in spatial.windows(frames_at_once):
        hidden.append(window.convolve(conv1, normalise), norm2.num_groups)

    weight = block.temporal_weight(spatial.frames).to(spatial.frames.dtype)
    normalise = hidden.norm(norm2)
    for window in hidden.windows(frames_at_once):
        spatial.frames[window.inner] += weight * window.convolve(conv2, normalise)
    return spatial.frames


def _at_least_fp32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


class _Frames:
    """A clip-sized buffer, filled a few frames at a time, that keeps the moments of what it was given."""

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames
        self.filled = 0
        self.frames = torch.empty(0)
        self.means: list[Tensor] = []  # each: t groups
        self.variances: list[Tensor] = []

    def append(self, x: Tensor, groups: int) -> None:
        """x: the next frames, t c h w."""
        if self.filled == 0:
            self.frames = x.new_empty(self.num_frames, *x.shape[1:])
        self.frames[self.filled : self.filled + len(x)] = x
        self.filled += len(x)
        grouped = rearrange(x.to(_at_least_fp32(x)), "t (g c) h w -> t g (c h w)", g=groups)
        variance, mean = torch.var_mean(grouped, dim=-1, correction=0)
        self.means.append(mean)
        self.variances.append(variance)

    def norm(self, module: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
        """The group norm `module` with the clip's moments, followed by SiLU."""
        means, variances = (torch.cat(m).double() for m in (self.means, self.variances))  # t groups
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)  # law of total variance
        rstd = (variance + module.eps).rsqrt()
        weight, bias = (p.to(device=mean.device, dtype=torch.float64) for p in (module.weight, module.bias))
        per_group = len(weight) // len(mean)
        scale = weight * rstd.repeat_interleave(per_group)
        shift = bias - mean.repeat_interleave(per_group) * scale
        dtype = _at_least_fp32(self.frames)
        scale, shift = (p.to(dtype)[:, None, None] for p in (scale, shift))  # c 1 1
        return lambda x: F.silu((x * scale + shift).to(x.dtype))

    def windows(self, frames_at_once: int) -> Iterator[_Window]:
        for start in range(0, self.num_frames, frames_at_once):
            stop = min(start + frames_at_once, self.num_frames)
            first, last = max(start - 1, 0), min(stop + 1, self.num_frames)
            yield _Window(self.frames[first:last], slice(start, stop), slice(start - first, stop - first))


@dataclass(frozen=True)
class _Window:
    """A few frames and, where the clip has them, one neighbour on each side."""

    frames: Tensor  # t c h w
    inner: slice  # the few frames, in the clip
    kept: slice  # the few frames, in the window

    def convolve(self, conv: nn.Module, normalise: Callable[[Tensor], Tensor]) -> Tensor:
        """The temporal convolution of the normalised frames; neighbours are seen but not returned."""
        x = rearrange(normalise(self.frames), "t c h w -> 1 c t (h w)")
        x = conv(x)[:, :, self.kept]
        return rearrange(x, "1 c t (h w) -> t c h w", h=self.frames.shape[2])
